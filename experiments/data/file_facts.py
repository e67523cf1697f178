"""The texts and tables that are read from files: one row each.

Addresses of GitHub name a commit. A sha256 is that of a published file; those of hwu64
are of what `extract` makes of the published archive.
"""

from experiments.data.files import FileFacts, Published
from experiments.data.formats.labeled import (
    clinc_json,
    fold_of_csv,
    in_domains,
    table_in_csv,
    table_of_uci,
    texts_in_csv,
    trec,
)
from experiments.data.kinds import TABLE, TEXTS

GITHUB = "https://raw.githubusercontent.com"
BANKING = (
    f"{GITHUB}/PolyAI-LDN/task-specific-datasets/"
    "57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data"
)
CLINC = f"{GITHUB}/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data"
HWU = (
    "https://github.com/xliuhw/NLU-Evaluation-Data/archive/"
    "f6071b496b17d71e6eb43f543af0707f4ff30557.zip"
)
UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
TREC = "https://cogcomp.seas.upenn.edu/Data/QA/QC"

CLINC_FULL = Published(
    "clinc150_full.json",
    f"{CLINC}/data_full.json",
    ("36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",),
)
CLINC_DOMAINS = Published(
    "clinc150_domains.json",
    f"{CLINC}/domains.json",
    ("b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",),
)
# The first of ten: its training and test part without duplicates.
FOLD = "CrossValidation/KFold_1"
# Of the moments and edge counts of a letter's picture.
LETTER_COLUMNS = (
    *("x-box", "y-box", "width", "high", "onpix", "x-bar", "y-bar", "x2bar"),
    *("y2bar", "xybar", "x2ybr", "xy2br", "x-ege", "xegvy", "y-ege", "yegvx"),
)
SATIMAGE_CLASSES = {
    "1": "red soil",
    "2": "cotton crop",
    "3": "grey soil",
    "4": "damp grey soil",
    "5": "vegetation stubble",
    "7": "very damp grey soil",  # 6, a mixture, has no examples
}

ROWS = (
    FileFacts(
        name="banking77",
        kind=TEXTS,
        files=(
            Published(
                "banking77_train.csv",
                f"{BANKING}/train.csv",
                ("b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",),
            ),
            Published(
                "banking77_test.csv",
                f"{BANKING}/test.csv",
                ("d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",),
            ),
        ),
        counts=(10_003, 3_080),
        parse=texts_in_csv("banking77_train.csv", "banking77_test.csv", "category"),
    ),
    FileFacts(
        name="clinc150",
        kind=TEXTS,
        files=(CLINC_FULL,),
        counts=(18_000, 4_500),
        parse=clinc_json("clinc150_full.json"),
    ),
    FileFacts(
        name="clinc150_domains",
        kind=TEXTS,
        files=(CLINC_FULL, CLINC_DOMAINS),
        counts=(18_000, 4_500),
        parse=in_domains(clinc_json("clinc150_full.json"), "clinc150_domains.json"),
    ),
    FileFacts(
        name="hwu64",
        kind=TEXTS,
        files=(
            Published(
                "hwu64_train.csv",
                HWU,
                ("0d24815e0dd8493c2d790cc81b544063cad25650c624833e0df0fef6b8609ede",),
                extract=fold_of_csv(f"{FOLD}/trainset", "answer_from_anno"),
            ),
            Published(
                "hwu64_test.csv",
                HWU,
                ("0ca2f0c26d18b7ff7ddbd14b38ed2027bd081237d13c53377f117bd0ba3ec363",),
                extract=fold_of_csv(f"{FOLD}/testset/csv", "answer_from_anno"),
            ),
        ),
        counts=(9_960, 1_076),
        parse=texts_in_csv("hwu64_train.csv", "hwu64_test.csv", "intent"),
    ),
    FileFacts(
        name="trec",
        kind=TEXTS,
        files=(
            Published("train_5500.label", f"{TREC}/train_5500.label"),
            Published("TREC_10.label", f"{TREC}/TREC_10.label"),
        ),
        counts=(5_452, 500),
        parse=trec("train_5500.label", "TREC_10.label"),
    ),
    FileFacts(
        name="dry_bean",
        kind=TABLE,
        files=(
            Published(
                "dry_bean.csv",
                # The repository's own CSV of what its archive has as ARFF and XLSX.
                "https://archive.ics.uci.edu/static/public/602/data.csv",
                ("c4e627b187fefd79ac00998be810f0608cf60697226d4f157def8d78f7bb1265",),
            ),
        ),
        counts=(10_891, 2_720),
        parse=table_in_csv("dry_bean.csv", "Class"),
    ),
    FileFacts(
        name="pendigits",
        kind=TABLE,
        files=(
            Published(
                "pendigits.tra",
                f"{UCI}/pendigits/pendigits.tra",
                (
                    # Two files of 7,494 examples; the second is what others
                    # state of this address.
                    "964e13f369674414bbe0118aa2288a745aac37fd7f0c00a18c2973de25727f6c",
                    "e2b9eb9f0d0467e2b64a4816a3420edf2b8043447576f4b84337aba44a9f97d3",
                ),
            ),
            Published(
                "pendigits.tes", f"{UCI}/pendigits/pendigits.tes", is_needed=False
            ),
        ),
        counts=(7_494, 3_498),
        parse=table_of_uci(
            "pendigits.tra",
            "pendigits.tes",
            [f"{axis}{point}" for point in range(1, 9) for axis in "xy"],
        ),
    ),
    FileFacts(
        name="letter",
        kind=TABLE,
        files=(
            Published(
                "letter-recognition.data",
                f"{UCI}/letter-recognition/letter-recognition.data",
            ),
        ),
        counts=(16_000, 4_000),  # its authors' own division
        parse=table_of_uci(
            "letter-recognition.data",
            None,
            LETTER_COLUMNS,
            label_at=0,
            num_train=16_000,
        ),
    ),
    FileFacts(
        name="satimage",
        kind=TABLE,
        files=(
            Published("sat.trn", f"{UCI}/statlog/satimage/sat.trn"),
            Published("sat.tst", f"{UCI}/statlog/satimage/sat.tst"),
        ),
        counts=(4_435, 2_000),
        parse=table_of_uci(
            "sat.trn",
            "sat.tst",
            # Pixels of a 3x3 neighborhood, row by row, in four bands each.
            [f"pixel{pixel}_band{band}" for pixel in range(1, 10) for band in "1234"],
            delimiter=None,
            class_names=SATIMAGE_CLASSES,
        ),
    ),
)
FILES: dict[str, FileFacts] = {row.name: row for row in ROWS}
