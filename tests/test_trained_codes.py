"""``open_run`` and exported files of models with integer codes."""

import numpy as np
import pytest
import torch
from integer_codes import grid_model, pictures, table_model

from ppl_vae import evaluation
from ppl_vae.data import TableCoding
from ppl_vae.trained import Trained
from ppl_vae.training.loggers import pictures as logged

ROWS = {name: np.linspace(-1, 1, 7) ** power for name, power in (("a", 1), ("b", 2), ("c", 3))}


def test_codes_of_a_table_are_whole_numbers_that_come_back_as_rows():
    run = Trained(table_model(), TableCoding(("a", "b", "c")))
    codes = run.encode(ROWS)
    assert list(codes) == ["z0", "z1"] and all(np.issubdtype(column.dtype, np.integer) for column in codes.values())
    x = run.rows(ROWS).take(slice(None))[0]
    np.testing.assert_array_equal(np.stack([*codes.values()], 1), evaluation.codes(run.model, x).numpy())
    frame = pytest.importorskip("pandas").DataFrame(codes)
    back, rows = run.decode(frame), run.reconstruct(ROWS)
    for name in ROWS:
        np.testing.assert_allclose(back[name], rows[name], rtol=1e-6)


def test_codes_of_a_grid_come_back_from_arrays_and_others_are_refused():
    model, x = grid_model(), pictures(5)
    run = Trained(model)
    codes = run.encode(x)
    assert codes.shape == (5, 2, 2) and codes.dtype == torch.int64
    torch.testing.assert_close(run.decode(codes.numpy()), run.reconstruct(x))
    with pytest.raises(ValueError, match="codes must be whole numbers from 0 to 5, not 6"):
        run.decode(np.full((1, 2, 2), 6))
    with pytest.raises(ValueError, match=r"codes must be whole numbers from 0 to 5, not 0\.5"):
        run.decode(np.full((1, 2, 2), 0.5))
    assert set(run.sample(9, draw=True).unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_an_exported_file_gives_the_codes_and_takes_them(tmp_path, part):
    model, x = grid_model(), pictures(9)
    made = model.export(tmp_path / "part.pt2", part)
    program, codes = torch.export.load(made.path).module(), model.encode(x)
    if part == "encoder":
        assert made.difference == 0 and torch.equal(program(x), codes)
    else:
        assert made.difference < 1e-5
        torch.testing.assert_close(program(codes), model.decode(codes))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_onnx_gives_the_codes_and_takes_them(tmp_path, part):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = grid_model(), pictures(9)
    made = model.export(tmp_path / "part.onnx", part)
    session, codes = onnxruntime.InferenceSession(str(made.path)), model.encode(x)
    given, expected = (x, codes) if part == "encoder" else (codes, model.decode(codes).detach())
    (found,) = session.run(None, {made.inputs[0]: given.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=0 if part == "encoder" else 1e-5)


def test_loggers_draw_reconstructions_and_samples_of_the_code_prior():
    x = pictures(4)
    found = logged(grid_model(), x)
    assert {name: tuple(grid.shape) for name, grid in found.items()} == {
        "reconstructions": (3, 14, 26),
        "samples": (3, 8, 26),
    }
