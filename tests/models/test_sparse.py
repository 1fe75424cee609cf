import pytest
import torch
from instances import DIM, SHAPE, plain

from ppl_vae import Reconstruction, fit, models, networks
from ppl_vae.penalties import L1, L2, KLRate, KSparse

X = torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(1))


def sparse(penalty, dim=10, hidden=(7, 6), activation="relu", **options):
    encoder = networks.MLP(SHAPE, hidden, activation)
    return models.SparseAutoencoder(encoder, networks.MLP(dim, [7]), dim, SHAPE, penalty, **options)


def test_codes_of_k_sparse_have_k_entries():
    ae = sparse(KSparse(3))
    assert ((ae.encode(X) != 0).sum(1) == 3).all()
    assert ae.penalised(X)[1] == {}


def test_the_code_is_behind_the_activation_that_suits_the_penalty():
    assert 0 < sparse(KLRate()).encode(X).min() and sparse(KLRate()).encode(X).max() < 1
    assert sparse(L1()).encode(X).min() < 0
    assert sparse(L1(), code="relu").encode(X).min() == 0


def test_the_penalty_is_that_of_the_code():
    ae = sparse(L1(0.3))
    out, costs = ae.penalised(X)
    z = ae.encode(X)
    assert torch.equal(out, ae.decode(z)) and torch.allclose(costs["penalty"], 0.3 * z.abs().sum(1))


def test_the_objective_adds_the_penalty_to_the_error():
    for penalty in (L1(0.3), KLRate(0.1, 2.0)):
        loss = Reconstruction(sparse(penalty))(X)
        assert torch.allclose(loss.value, loss.terms["squared_error"].mean() + loss.terms["penalty"].mean())
        assert not loss.terms["penalty"].requires_grad


def test_every_layer_has_a_penalty_weight_and_rate_of_its_own():
    ae = sparse([KLRate(0.2, 3.0), KLRate(0.1, 0.5), L2(0.25)], activation="sigmoid")
    first = ae.encoder.layers[:3](X)
    second = ae.encoder.layers[3:](first)
    z = ae.to_code(second)[0]
    expected = KLRate(0.2, 3.0).cost(first) + KLRate(0.1, 0.5).cost(second) + L2(0.25).cost(z)
    assert torch.allclose(ae.penalised(X)[1]["penalty"], expected) and torch.equal(ae.encode(X), z)


def test_a_hidden_layer_may_be_k_sparse_and_another_free():
    ae = sparse([KSparse(2), None, KSparse(3)])
    seen = []
    ae.encoder.layers[3].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert ((ae.encode(X) != 0).sum(1) == 3).all()
    assert ((seen[0] != 0).sum(1) <= 2).all()


def test_the_rate_is_learned():
    ae = sparse(KLRate(0.1, 20.0))
    fit(Reconstruction(ae), X, epochs=150, lr=0.02, progress=False)
    assert abs(ae.encode(X).mean().item() - 0.1) < 0.03


def test_bad_arguments():
    with pytest.raises(ValueError, match="k must be at most the size of the layer, 2, not 3"):
        models.SparseAutoencoder(*plain(), KSparse(DIM + 1))
    with pytest.raises(ValueError, match="k must be at most the size of the layer, 7, not 8"):
        sparse([KSparse(8), None, L1()])
    with pytest.raises(ValueError, match="one for each of the encoder's 2 hidden layers and the code, not 2"):
        sparse([L1(), L1()])
    with pytest.raises(ValueError, match="make its layer's activation 'sigmoid', not 'relu'"):
        sparse([KLRate(), None, L1()])
    with pytest.raises(ValueError, match="make its layer's activation 'sigmoid', not 'identity'"):
        sparse(KLRate(), code="identity")
    with pytest.raises(TypeError, match="penalty must be one of ppl_vae.penalties"):
        sparse("l1")
    with pytest.raises(TypeError, match="penalty must be one of ppl_vae.penalties"):
        sparse(None)
    with pytest.raises(ValueError, match="code must be 'identity', 'sigmoid' or 'relu', not 'tanh'"):
        sparse(L1(), code="tanh")
