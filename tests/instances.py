"""Tiny instances of everything a folder exports: a new part is tested by being listed.

``make(folder, name)`` builds them. Classes that follow the fixed constructor convention (``priors.X(dim)``,
``posteriors.X(network, dim)``, ``likelihoods.X(network, shape)``, ``networks.X(shape, hidden)``, ``estimators.X()``)
need no entry; the others get one in ``SPECIAL``.
"""

import importlib
import inspect

import torch

from ppl_vae import (
    VAE,
    code_priors,
    corruptions,
    estimators,
    handlers,
    likelihoods,
    models,
    networks,
    penalties,
    posteriors,
    priors,
    quantizers,
)

DIM, SHAPE, BATCH = 2, (1, 4, 4), 3
# Supports that tie the entries together, or that are discrete: worth more than two entries.
JOINT = ("Dirichlet", "LogisticNormal", "StickBreaking", "RelaxedOneHotCategorical", "Hyperspherical")
JOINT += ("OneHotCategorical", "Bernoulli")
OF_LABELS = ("AdjustedVAE", "AuxiliaryVAE", "CVAE", "SemiSupervisedVAE", "StackedSemiSupervisedVAE", "SupervisedVAE")
DISCRETE = ("DisARM", "Enum")  # estimators of discrete codes
FLOWS = {"coupling": 0.1, "autoregressive": 0.1, "spline": 0.02}  # kinds, and how far ``shaken`` moves them

SPECIAL = {
    "networks.MLP": lambda: [networks.MLP(SHAPE, [5]), networks.MLP(DIM, [5, 4], "tanh"), networks.MLP(SHAPE, [])],
    **{f"networks.{name}": list for name in ("Conditioned", "Label", "Picture", "Vector")},  # test_conditioned.py
    "networks.FiLM": list,  # test_film.py
    **{name: list for name in ("networks.Quadrants", "networks.Guessed", "likelihoods.Completed")},  # test_quadrants.py
    "networks.ConvTranspose": lambda: [networks.ConvTranspose(DIM, [3, 2], (1, 5, 4))],
    "networks.ResNetTranspose": lambda: [networks.ResNetTranspose(DIM, [3, 2], (1, 5, 4))],
    "priors.Normal": lambda: [priors.Normal(DIM), priors.Normal(DIM, learned=True)],
    "networks.FillMissing": lambda: [
        networks.FillMissing(networks.MLP(SHAPE, [5]), SHAPE),
        networks.FillMissing(networks.MLP((2, 4, 4), [5]), SHAPE, fill=0.5, mask=True),
    ],
    "networks.Scaled": lambda: [
        networks.Scaled(networks.MLP(SHAPE, [5]), SHAPE),
        networks.Scaled(networks.FillMissing(networks.MLP(8, [5]), 4, mask=True), 4, by="unit"),
    ],
    "networks.TableEncoder": lambda: [
        networks.TableEncoder(4, [5]),
        networks.TableEncoder(4, [5], "tanh", {0: "positive", 1: "count", 3: "categorical(3)"}, mask=True),
    ],
    "likelihoods.Columns": lambda: [
        likelihoods.Columns(
            networks.MLP(DIM, [5]),
            6,
            {0: "real", 1: "positive", 2: "count", 3: "binary", 4: "categorical(3)", 5: "ordinal(4)"},
        )
    ],
    "posteriors.RelaxedOneHotCategorical": lambda: [
        posteriors.RelaxedOneHotCategorical(networks.MLP(SHAPE, [5]), DIM),
        posteriors.RelaxedOneHotCategorical(networks.MLP(SHAPE, [5]), 3, handlers.Linear(10, 1.0, 0.5)),
        posteriors.RelaxedOneHotCategorical(networks.MLP(SHAPE, [5]), 4, groups=2),
    ],
    "posteriors.OneHotCategorical": lambda: [
        posteriors.OneHotCategorical(networks.MLP(SHAPE, [5]), DIM),
        posteriors.OneHotCategorical(networks.Conv(SHAPE, [3]), 3),
        posteriors.OneHotCategorical(networks.MLP(SHAPE, [5]), 4, groups=2),
    ],
    "posteriors.GumbelSoftmax": lambda: [
        posteriors.GumbelSoftmax(networks.MLP(SHAPE, [5]), DIM),
        posteriors.GumbelSoftmax(networks.Conv(SHAPE, [3]), 3, end_temperature=0.5),
        posteriors.GumbelSoftmax(networks.MLP(SHAPE, [5]), 4, groups=2),
    ],
    "likelihoods.Normal": lambda: (
        [
            likelihoods.Normal(networks.MLP(DIM, [5]), SHAPE, scale=scale)
            for scale in (0.5, 2, "learned", "pixel", "network", "optimal")
        ]
        + [likelihoods.Normal(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE, scale="network")]
    ),
    "priors.Flow": lambda: [shaken(priors.Flow(DIM, kind), by) for kind, by in FLOWS.items()],
    "priors.Given": list,  # of y: tests/priors/test_given.py
    "priors.Hierarchical": lambda: [priors.Hierarchical(DIM), priors.Hierarchical(DIM, [1, 1], [5, 4])],
    "priors.Laplace": lambda: [priors.Laplace(DIM), priors.Laplace(DIM, 0.1, 2.0, learned=True)],
    "priors.Logistic": lambda: [priors.Logistic(DIM), priors.Logistic(DIM, 0.1, 2.0, learned=True)],
    "priors.MultivariateNormal": lambda: [
        priors.MultivariateNormal(DIM, 0.1, torch.tensor([[1.0, 0.0], [0.5, 2.0]]), learned=learned)
        for learned in (False, True)
    ],
    "priors.StudentT": lambda: [priors.StudentT(DIM), priors.StudentT(DIM, 3.0, 0.1, 2.0, learned=True)],
    "priors.Uniform": lambda: [priors.Uniform(DIM), priors.Uniform(DIM, -1.0, 2.0)],
    "priors.VampPrior": lambda: [
        priors.VampPrior(posteriors.Normal(networks.MLP(SHAPE, [5], "tanh"), DIM), 4),
        priors.VampPrior(posteriors.MultivariateNormal(networks.MLP(SHAPE, [5]), DIM), 4, inputs="real"),
        shaken(priors.VampPrior(posteriors.Flow(networks.Conv(SHAPE, [3]), DIM, context=3), 4, SHAPE, "positive")),
    ],
    "posteriors.Flow": lambda: [
        shaken(posteriors.Flow(network, DIM, kind, context=3), by)
        for kind, by in FLOWS.items()
        for network in (networks.MLP(SHAPE, [5]), networks.Conv(SHAPE, [3]))
    ],
    "estimators.IWAE": lambda: [estimators.IWAE(), estimators.IWAE(3, "stl")],
    "estimators.RWS": lambda: [estimators.RWS(), estimators.RWS(3, "sleep")],
    "priors.Of": lambda: [],  # of any class: tests/priors/test_of.py
    "posteriors.Of": lambda: [],
    "likelihoods.Of": lambda: [],
    "likelihoods.Multinomial": lambda: [  # of one word it would be constant
        likelihoods.Multinomial(networks.MLP(DIM, [5]), 3),
        likelihoods.Multinomial(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE, total_count=7),
    ],
    "likelihoods.Missing": lambda: [
        likelihoods.Missing(likelihoods.Bernoulli(networks.MLP(DIM, [5]), SHAPE)),
        likelihoods.Missing(likelihoods.Normal(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE, scale="optimal")),
    ],
    "likelihoods.Scaled": lambda: [
        likelihoods.Scaled(likelihoods.StudentT(networks.MLP(DIM, [5]), SHAPE)),
        in_units(likelihoods.Scaled(likelihoods.Normal(networks.MLP(DIM, [5]), 1, scale="optimal"))),
        in_units(likelihoods.Scaled(likelihoods.Normal(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE))),
        in_units(likelihoods.Scaled(likelihoods.ContinuousBernoulli(networks.MLP(DIM, [5]), 1), by="unit")),
    ],
    "models.VAE": lambda: [vae()],
    "models.MixtureVAE": lambda: [
        models.MixtureVAE(
            priors.MixtureOfGaussians(DIM, 3),
            posteriors.Normal(networks.MLP(SHAPE, [5]), DIM),
            likelihoods.Bernoulli(networks.MLP(DIM, [5]), SHAPE),
        )
    ],
    "models.Autoencoder": lambda: [
        models.Autoencoder(networks.MLP(SHAPE, [5]), networks.MLP(DIM, [5]), DIM, SHAPE),
        models.Autoencoder(networks.Conv(SHAPE, [3]), networks.Conv.decoder(DIM, [3], SHAPE), DIM, SHAPE, "identity"),
        models.Autoencoder(
            *plain(),
            code="sigmoid",
            corruption=corruptions.Masking(0.3),
            penalty=[penalties.KLRate(0.1), penalties.Contraction(), penalties.DecoderGradient()],
            code_corruption=corruptions.RelativeGaussian(0.1),
        ),
        models.Autoencoder(*plain(), "identity", penalty=penalties.Contraction(), scale="standard"),
    ],
    "models.ConvAutoencoder": lambda: [models.ConvAutoencoder(DIM, SHAPE, [3, 2])],
    "models.DenoisingAutoencoder": lambda: [
        models.DenoisingAutoencoder(*plain(), corruption) for corruption in everything("corruptions")
    ],
    "models.SparseAutoencoder": lambda: [
        *(models.SparseAutoencoder(*plain(), penalty()) for penalty in (penalties.L1, penalties.L2, penalties.KLRate)),
        models.SparseAutoencoder(*plain(), penalties.KSparse(1)),
        models.SparseAutoencoder(
            *plain(), [penalties.KSparse(3), penalties.KLRate(0.1)], output="identity", code="sigmoid"
        ),
        models.SparseAutoencoder(*plain(), [None, penalties.L1(0.1)]),
    ],
    "models.ContractiveAutoencoder": lambda: [
        models.ContractiveAutoencoder(*plain()),
        models.ContractiveAutoencoder(networks.MLP(SHAPE, []), networks.MLP(DIM, []), DIM, SHAPE, weight=2.0),
        models.ContractiveAutoencoder(*plain(), "identity", code="identity", probes=2),
        models.ContractiveAutoencoder(networks.Conv(SHAPE, [3]), networks.Conv.decoder(DIM, [3], SHAPE), DIM, SHAPE),
    ],
    "models.StackedAutoencoder": lambda: [
        models.StackedAutoencoder(networks.MLP(SHAPE, [5, 4]), networks.MLP(DIM, [4, 5]), DIM, SHAPE, beside=beside)
        for beside in (False, True)
    ],
    # Of x given y, which the contract does not give: test_conditional.py, test_semi_supervised.py.
    **{f"models.{name}": list for name in ("CVAE", "SemiSupervisedVAE", "StackedSemiSupervisedVAE")},
    "models.LatentNoiseAutoencoder": lambda: [models.LatentNoiseAutoencoder(*plain())],
    "models.RegularizedAutoencoder": lambda: [
        models.RegularizedAutoencoder(*plain(), regularizer=regularizer, components=3)
        for regularizer in ("gradient", "l2", "spectral")
    ],
    "models.RBM": lambda: [
        models.RBM(DIM, SHAPE),
        models.RBM(DIM, SHAPE, "gaussian", scale=0.5),
        models.RBM(DIM, SHAPE, code="gaussian"),
    ],
    "models.DeepBeliefNet": lambda: [
        models.DeepBeliefNet(DIM, SHAPE, hidden, output, pretrain=1)
        for hidden, output in (((5, 4), "sigmoid"), ((5,), "identity"), ((), "sigmoid"))
    ],
    "code_priors.PixelCNN": lambda: [code_priors.PixelCNN(6, 3), code_priors.PixelCNN(4, 2, kernel=5, dropout=0.0)],
    "code_priors.Transformer": lambda: [code_priors.Transformer(8, heads=2), code_priors.Transformer(4, 1, 1, 0.0)],
    "penalties.KSparse": lambda: [penalties.KSparse(1)],
    "penalties.Hidden": lambda: [penalties.Hidden(penalties.KSparse(3), 0), penalties.Hidden(penalties.KLRate(), 0)],
    "penalties.Contraction": lambda: [penalties.Contraction(), penalties.Contraction(probes=2)],
    "penalties.DecoderGradient": lambda: [penalties.DecoderGradient(), penalties.DecoderGradient(probes=None)],
    **{f"quantizers.{name}": list for name in ("EMA", "Gradient", "Quantized")},  # made by and for the others
    "quantizers.VectorQuantizer": lambda: [
        quantizers.VectorQuantizer(5, 3),
        quantizers.VectorQuantizer(5, 3, update="gradient", revive=0.5),
        quantizers.VectorQuantizer(5, 3, 1.0, quantizers.EMA(0.9), "cosine", "rotation", 0.0, "normal"),
        quantizers.VectorQuantizer(5, 3, update=quantizers.Gradient(), metric="cosine", gradient="rotation"),
    ],
    "quantizers.ProductQuantizer": lambda: [
        quantizers.ProductQuantizer(5, 6, 3),
        quantizers.ProductQuantizer(5, 6, 2, 0.5, quantizers.Gradient(), "cosine", "rotation", 0.0, "normal"),
    ],
    "quantizers.ResidualQuantizer": lambda: [
        quantizers.ResidualQuantizer(5, 3, 2),
        quantizers.ResidualQuantizer(5, 3, 3, 0.5, quantizers.Gradient(), "rotation", 0.0, "normal"),
    ],
    "quantizers.FiniteScalarQuantizer": lambda: [
        quantizers.FiniteScalarQuantizer(),
        quantizers.FiniteScalarQuantizer([2, 3, 4]),
    ],
    "models.VQVAE": lambda: [
        models.VQVAE(
            networks.Conv(SHAPE, [3], flatten=False),
            quantizers.VectorQuantizer(5, DIM, update="gradient"),
            likelihoods.Bernoulli(networks.Conv.decoder((DIM, 2, 2), [3], SHAPE, flatten=False), SHAPE),
        ),
        models.VQVAE(
            networks.MLP(SHAPE, [5]),
            quantizers.ProductQuantizer(3, 4, groups=2),
            likelihoods.Normal(networks.MLP(8, [5]), SHAPE),
            code_priors.Transformer(8, 1, 2),
        ),
    ],
    "models.VQVAE2": lambda: [
        vqvae2(),
        vqvae2(
            quantizers.FiniteScalarQuantizer((3, 2)),
            top_quantizer=quantizers.VectorQuantizer(6, 3),
            code_prior=code_priors.Transformer(8, 1, 2),
        ),
    ],
    **{f"models.{name}": list for name in OF_LABELS},  # of x and y: tests/models
    "models.Program": lambda: [],  # made of the user's own functions: tests/models/test_program.py
}


def _learned(name):
    cls = getattr(priors, name)
    in_groups = [{"groups": 2}, {"groups": 2, "learned": True}] if "OneHot" in name else []
    return lambda: [
        *[cls(DIM), *([cls(3)] if name in JOINT else []), cls(DIM, learned=True)],
        *[cls(4, **options) for options in in_groups],
    ]


def _joint(name):
    cls = getattr(posteriors, name)
    return lambda: [cls(networks.MLP(SHAPE, [5]), DIM), cls(networks.Conv(SHAPE, [3]), 3)]


for _name in (*JOINT, "Beta", "Kumaraswamy", "Gamma", "LogNormal"):
    SPECIAL[f"priors.{_name}"] = _learned(_name)
for _name in JOINT:
    SPECIAL.setdefault(f"posteriors.{_name}", _joint(_name))


def in_units(likelihood, shift=0.25, unit=2.0):
    """The likelihood with units that are not the initial ones."""
    units = likelihood.units
    units.start_at(torch.full_like(units.shift, shift), torch.full_like(units.unit, unit))
    return likelihood


def plain():
    """Encoder, decoder, dim and shape of a small autoencoder."""
    return networks.MLP(SHAPE, [5]), networks.MLP(DIM, [5]), DIM, SHAPE


def everything(folder):
    """A tiny instance of everything that a folder exports."""
    return [part for name in exported(folder) for part in make(folder, name)]


def shaken(part, by=0.2):
    """The part with every parameter moved at random: some start at 0, where the gradient of others is 0 too."""
    with torch.no_grad():
        for p in part.parameters():
            p.add_(by * torch.randn_like(p))
    return part


def vae(dim=DIM, shape=SHAPE, prior=None, posterior=None, likelihood=None, hidden=(5,)):
    return VAE(
        prior or priors.Normal(dim),
        posterior or posteriors.Normal(networks.MLP(shape, hidden, "tanh"), dim),
        likelihood or likelihoods.Bernoulli(networks.MLP(dim, hidden, "tanh"), shape),
    )


def vqvae2(quantizer=None, shape=SHAPE, **more):
    """A small VQVAE2 with grids of 1 x 1 and 2 x 2, or a quarter and half of the shape's sides."""
    quantizer = quantizer or quantizers.VectorQuantizer(5, DIM)
    dim = quantizer.dim + more.get("top_quantizer", quantizer).dim
    grid = tuple((side + 1) // 2 for side in shape[1:])
    network = networks.ConvTranspose((dim, *grid), [3], shape)
    encoder = networks.Conv(shape, [3], flatten=False)
    return models.VQVAE2(encoder, quantizer, likelihoods.Bernoulli(network, shape), **more)


def exported(folder):
    """Names of the classes that a folder lists."""
    module = importlib.import_module(f"ppl_vae.{folder}")
    classes = {name: getattr(module, name) for name in module.__all__}
    return [name for name, cls in classes.items() if inspect.isclass(cls) and not inspect.isabstract(cls)]


def make(folder, name):
    """Tiny instances of an exported class, the special cases and the convention."""
    if f"{folder}.{name}" in SPECIAL:
        return SPECIAL[f"{folder}.{name}"]()
    cls = getattr(importlib.import_module(f"ppl_vae.{folder}"), name)
    return {
        "networks": lambda: [cls(SHAPE, [3, 2])],
        "priors": lambda: [cls(DIM)],
        "posteriors": lambda: [cls(networks.MLP(SHAPE, [5]), DIM), cls(networks.Conv(SHAPE, [3]), DIM)],
        "likelihoods": lambda: [
            cls(networks.MLP(DIM, [5]), SHAPE),
            cls(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE),
            cls(networks.MLP(DIM, [5]), 3),
            cls(networks.MLP(DIM, [5]), 1),
            *(
                cls(network, shape, total="observed")
                for network, shape in ((networks.MLP(DIM, [5]), 3), (networks.Conv.decoder(DIM, [3], SHAPE), SHAPE))
                if "total" in inspect.signature(cls).parameters
            ),
        ],
        "estimators": lambda: [cls(), cls(num_particles=2)],
        "code_priors": lambda: [cls()],
        "penalties": lambda: [cls()],
        "corruptions": lambda: [cls()],
    }[folder]()


def every(folder):
    """pytest parameters: every tiny instance of everything a folder exports, made anew for every test."""
    out = []
    for name in exported(folder):
        torch.manual_seed(0)
        out += [(name, i) for i in range(len(make(folder, name)))]
    return out


def instance(folder, case):
    torch.manual_seed(0)
    return make(folder, case[0])[case[1]]
