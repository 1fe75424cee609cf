"""A linear autoencoder equals PCA; a deep one of the same code size does better. Here as scikit-learn transformers.

python examples/pca_vs_autoencoder.py
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from ppl_vae.sklearn import AutoencoderTransformer

train, test = train_test_split(load_digits().data, random_state=0)
varying = train.std(0) > 0.5
center, scale = train[:, varying].mean(0), train[:, varying].std(0)
train, test = ((x[:, varying] - center) / scale for x in (train, test))
transformers = {
    "PCA": PCA(8),
    "linear autoencoder": AutoencoderTransformer(8, hidden=(), epochs=100, lr=1e-2, random_state=0),
    "deep autoencoder": AutoencoderTransformer(8, hidden=(256,), epochs=100, random_state=0),
}
for name, transformer in transformers.items():
    transformer.fit(train)
    for part, x in (("train", train), ("test", test)):
        error = ((x - transformer.inverse_transform(transformer.transform(x))) ** 2).sum(1).mean()
        print(f"{name}, squared error of the {part} digits with 8 numbers: {error:.2f}")
