"""The files of the only documents that callers without the operator's token may send."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


def parse_documents(text: str) -> Mapping[str, str]:
    """The documents by their ids in a file that a frontend's build has written, or in all files `*.json` of a folder.

    A file is an object of ids and documents, as GraphQL Code Generator's client preset and Relay's compiler write it,
    or an Apollo persisted query manifest. Raises ValueError.
    """
    path = Path(text).expanduser()
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"expected a file of documents in JSON: the folder {text[:100]!r} has no file *.json")
    documents: dict[str, str] = {}
    for file in files:
        for id_, document in _read(file).items():
            if documents.setdefault(id_, document) != document:
                raise ValueError(
                    f"{str(file)[:100]!r} has another document under the id {id_[:70]!r} than another file"
                )
    return documents


def _read(file: Path) -> dict[str, str]:
    try:
        content = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ValueError(f"expected a file of documents in JSON: {error}") from None
    documents = _by_id(content)
    if documents is None or not all(isinstance(each, str) for pair in documents.items() for each in pair):
        name = str(file)[:100]
        raise ValueError(f"{name!r} is no object of ids and documents, nor an Apollo persisted query manifest")
    return documents


def _by_id(content: Any) -> dict[Any, Any] | None:
    if not isinstance(content, dict):
        return None
    operations = content.get("operations")
    if not isinstance(operations, list):
        return content
    if not all(isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in operations):
        return None
    return {entry["id"]: entry.get("body") for entry in operations}
