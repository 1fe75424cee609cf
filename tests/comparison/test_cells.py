"""Cells find their folders by their records, and a folder of other settings is refused."""

import json

import pytest

from ppl_vae.comparison import work
from ppl_vae.comparison.cells import Cell, folder_name, placed

ASKED = {"num_particles": 10, "limit": 20}


def cell(name="vae_seed-0", section="comparison", **record):
    return Cell(name, name, {"seed": 0}, lambda: None, {}, section, {"cell": "vae", "lr": 0.1} | record)


def keep(made, folder, asked=ASKED):
    """What training leaves of a cell."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({made.section: made.record}))
    result = {"asked": asked, "settings": made.record, "outcome": {"elbo": -3.0}}
    (folder / "result.json").write_text(json.dumps(result))


def test_a_cell_is_found_by_its_record_under_another_name(tmp_path):
    keep(cell(), tmp_path / "old")
    (found,) = placed([cell("new")], tmp_path)
    assert found.folder == tmp_path / "old" and work.finished(found, ASKED) == {"elbo": -3.0}
    assert work.finished(found, ASKED | {"limit": 21}) is None


@pytest.mark.parametrize("free", [{"device": "cuda"}, {"workers": 2}, {"checkpoint_every": 5}, {"data-root": "x"}])
def test_entries_that_change_no_training_make_no_other_cell(tmp_path, free):
    keep(cell(), tmp_path / "vae_seed-0")
    (found,) = placed([cell(**free)], tmp_path)
    assert work.finished(found, ASKED) == {"elbo": -3.0}


def test_another_record_in_its_place_is_refused(tmp_path):
    keep(cell(model={"prior": {"dim": 2}}), tmp_path / "vae_seed-0")
    with pytest.raises(ValueError, match=r"model\.prior\.dim was 2 and is now 3 in the cell .*name a new --out"):
        placed([cell(model={"prior": {"dim": 3}})], tmp_path)


def test_figures_of_another_comparison_are_not_taken(tmp_path):
    keep(cell(section="shell", lr=0.2), tmp_path / "vae_seed-0")
    (found,) = placed([cell()], tmp_path)
    assert found.folder == tmp_path / "vae_seed-0" and work.finished(found, ASKED) is None


def test_names_of_folders_are_short_and_distinct():
    one, other = (folder_name([f"{'long ' * 40}{end}", "seed-0"], "", ()) for end in "ab")
    assert one != other and len(one) < 120
    assert folder_name(["a b"], "text", {"a-b": 0}).startswith("a-b_")
