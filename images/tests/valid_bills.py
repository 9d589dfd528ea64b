"""Holds bills of materials against the JSON schema of CycloneDX 1.6, with no member that the schema does not have."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_6)
wrong = False
for name in sys.argv[1:]:
    error = validator.validate_str(Path(name).read_text())
    if error is not None:
        wrong = True
        print(f"{name}: {error.data.json_path}: {error.data.message[:1000]}")
sys.exit(wrong)
