"""Small files of texts and tables, in the published forms."""

import csv
import io
import json

INTENTS = {"balance": "banking", "transfer": "banking", "oven": "kitchen"}


def csv_bytes(heading, rows):
    made = io.StringIO(newline="")
    csv.writer(made).writerows([heading, *rows])
    return made.getvalue().encode()


def some_texts(num_each=4, intents=("a_b", "c_d"), what="request"):
    return [
        (f"{what} {i}, about {intent}", intent)
        for i in range(num_each)
        for intent in intents
    ]


def clinc_files(num_each=4, intents=INTENTS):
    """Files of CLINC150 with a few intents."""
    content = {
        "oos_train": [["what is this", "oos"]],
        "val": some_texts(1, intents, "later"),
        "train": some_texts(num_each, intents),
        "test": some_texts(2, intents, "test"),
        "oos_test": [["who are you", "oos"]],
    }
    domains = {}
    for intent, domain in intents.items():
        domains.setdefault(domain, []).append(intent)
    return {
        "clinc150_full.json": json.dumps(content).encode(),
        "clinc150_domains.json": json.dumps(domains).encode(),
    }


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
