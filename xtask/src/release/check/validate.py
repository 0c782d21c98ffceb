# Validates bills of materials: python -c THIS SCHEMAS BILL…
import json
import pathlib
import sys
import urllib.parse

import jsonschema
import referencing
from referencing.jsonschema import DRAFT7

schemas = {path.name: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).iterdir()}
bom = next(schema for name, schema in schemas.items() if name.startswith("bom-"))
# They name each other by their files, beside the first.
resources = [(urllib.parse.urljoin(bom["$id"], name), DRAFT7.create_resource(schema)) for name, schema in schemas.items()]
validator = jsonschema.Draft7Validator(bom, registry=referencing.Registry().with_resources(resources))
failed = False
for path in sys.argv[2:]:
    for error in validator.iter_errors(json.loads(pathlib.Path(path).read_text())):
        failed = True
        print(f"{path}: {error.json_path}: {error.message}")
sys.exit(failed)
