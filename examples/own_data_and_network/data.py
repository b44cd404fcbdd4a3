"""Writes digits.npz, here of scikit-learn's digits: images as (N, height, width), and labels."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
x_train, x_test, y_train, y_test = train_test_split(
    digits.images.astype("float32"), digits.target, test_size=500, stratify=digits.target, random_state=0
)
np.savez("digits.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
