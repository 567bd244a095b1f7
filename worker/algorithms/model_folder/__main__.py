"""`python -m worker.algorithms.model_folder`: print the JSON schema of model.json."""

import json
import sys

from worker.algorithms.model_folder.model_file import json_schema

if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")
