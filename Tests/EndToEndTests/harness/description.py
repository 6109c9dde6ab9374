"""The server's own description, `/openapi.yaml`, and whether an answer is one that it describes."""

from __future__ import annotations

import functools

import wire

METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")


class Description:
    def __init__(self, text: str):
        import yaml

        self.text = text
        self.document: dict = yaml.safe_load(text)

    @classmethod
    async def of(cls, port: int) -> "Description":
        """What the running server says."""
        response = await wire.request(port, "GET", "/openapi.yaml")
        assert response.status == 200, f"/openapi.yaml gave {response}"
        return cls(response.body.decode())

    @property
    def operations(self) -> dict[tuple[str, str], dict]:
        return {
            (method.upper(), path): item[method]
            for path, item in self.document["paths"].items() for method in METHODS if method in item}

    def methods(self, path: str) -> set[str]:
        return {method for method, other in self.operations if other == path}

    def resolved(self, value: dict) -> dict:
        """What a reference stands for."""
        while isinstance(value, dict) and "$ref" in value:
            place: object = self.document
            for name in value["$ref"].removeprefix("#/").split("/"):
                place = place[name.replace("~1", "/").replace("~0", "~")]
            value = place
        return value

    def answers(self, method: str, path: str) -> dict[str, dict]:
        """The described answers of a route, by status."""
        return {status: self.resolved(answer) for status, answer in self.operations[method, path]["responses"].items()}

    def problems(self, method: str, path: str, response: wire.Response) -> list[str]:
        """What of an answer is not described."""
        described = self.answers(method, path).get(str(response.status))
        if described is None:
            return [f"/openapi.yaml has no {response.status} for {method} {path}"]
        content = described.get("content", {})
        if not content:
            return [f"/openapi.yaml has no body for this answer: {response}"] if response.body else []
        kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
        if kind not in content:
            return [f"/openapi.yaml has {sorted(content)} for this answer, whose content-type is {kind!r}"]
        if kind != "application/json":
            return []
        found = sorted(self._validator(method, path, str(response.status)).iter_errors(response.json), key=lambda error: error.json_path)
        return [f"/openapi.yaml has another body for this {response.status}: {error.json_path}: {error.message[:300]}" for error in found]

    @functools.cache
    def _validator(self, method: str, path: str, status: str):
        from jsonschema import Draft202012Validator

        schema = self.answers(method, path)[status]["content"]["application/json"]["schema"]
        # References point to the components, from wherever they stand.
        return Draft202012Validator({"allOf": [schema], "components": self.document["components"]})
