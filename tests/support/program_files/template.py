# ruff: noqa
"""A program as labs have them: written like Techcyte's template for model hosting, with requests.

It looks at no pixels: four boxes, as the template draws them.
"""

import os

import requests


def download_image(url: str, path: str) -> None:
    response = requests.get(url, stream=True)
    response.raise_for_status()
    with open(path, "wb") as file:
        for chunk in response.iter_content(chunk_size=8192):
            file.write(chunk)
    print(f"Downloaded image to {path}")


def box(x: int, y: int, edge: int) -> dict:
    ring = [[x, y], [x, y + edge], [x + edge, y + edge], [x + edge, y], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "Mitosis", "color": "#ff0000"},
    }


def process_image(path: str) -> dict:
    print(f"Processing {os.path.getsize(path)} bytes")
    boxes = [box(x, y, 20) for x in (50, 200) for y in (40, 150)]
    features = {"type": "FeatureCollection", "features": boxes}
    return {
        "model_name": "Mitosis Detection Model",
        "provider": "Acme AI",
        "ruo": True,
        "report": {
            "type": "Basic",
            "results": [
                {"name": "Result", "result": "Benign"},
                {"name": "Mitosis Count", "result": str(len(boxes))},
            ],
            "segments": [{"name": "Mitosis", "result": "", "feature_collection": features}],
        },
    }


class TechcyteClient:
    def __init__(self, host: str, jwt_token=None, api_key_id=None, api_key_secret=None) -> None:
        self.base_url = f"https://api.{host}/api/v3"
        self.token = jwt_token
        if api_key_secret:
            response = requests.post(
                f"{self.base_url}/token",
                data={"grant_type": "client_credentials"},
                auth=(api_key_id, api_key_secret),
            )
            response.raise_for_status()
            self.token = response.json()["access_token"]

    def post_results(self, task_id: str, results: dict) -> requests.Response:
        response = requests.post(
            f"{self.base_url}/external/results/{task_id}",
            json=results,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        response.raise_for_status()
        return response


def main() -> None:
    for name in ("SCAN_URL", "HOST", "TASK_ID", "SCAN_ID"):
        if not os.environ.get(name):
            raise ValueError(f"Missing environment variable: {name}")
    path = "/tmp/downloaded_image.svs"
    if os.environ.get("LOCAL_PATH"):
        path = os.environ["LOCAL_PATH"]
    download_image(os.environ["SCAN_URL"], path)
    workflow = process_image(path)
    print("Image processing complete. Posting to techcyte...")
    client = TechcyteClient(
        os.environ["HOST"],
        os.environ.get("JWT_TOKEN"),
        os.environ.get("API_KEY_ID"),
        os.environ.get("API_KEY_SECRET"),
    )
    results = {
        "caseResults": {},
        "scanResults": [{"scanId": os.environ["SCAN_ID"], "workflow": workflow}],
    }
    try:
        response = client.post_results(os.environ["TASK_ID"], results)
        print(f"Success: {response.status_code}")
    except requests.RequestException as error:
        print(f"Error posting results: {error}")


if __name__ == "__main__":
    main()
