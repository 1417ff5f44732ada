"""The file of the only documents that callers without the operator's token may send."""

from pathlib import Path

import orjson


def parse_documents(text: str) -> tuple[str, ...]:
    """The documents in a file that a frontend's build has written: an object of ids and documents, as GraphQL Code
    Generator's persisted documents are, or an Apollo persisted query manifest. Raises ValueError."""
    try:
        content = orjson.loads(Path(text).expanduser().read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ValueError(f"expected a file of documents in JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("operations"), list):
        found = [entry.get("body") if isinstance(entry, dict) else None for entry in content["operations"]]
    else:
        found = list(content.values()) if isinstance(content, dict) else [None]
    documents = tuple(document for document in found if isinstance(document, str))
    if len(documents) != len(found):
        raise ValueError(f"{text[:100]!r} is no object of ids and documents, nor an Apollo persisted query manifest")
    return documents
