"""What must not leave this machine: files that hold secrets by their name, and text that looks like a key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatch

from pydantic import SecretStr

from cluster.settings import Settings

# Examples without values are how people say which variables there are.
_TEMPLATES = (".example", ".sample", ".template", ".dist")
_NAMES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "id_rsa*", "id_ed25519*"),
    *("id_ecdsa*", "id_dsa*", "credentials", "credentials.*", "credentials-*.json", "service-account*.json"),
    *("client_secret*.json", "application_default_credentials.json", "secrets.*", "*.tfstate", "*.tfstate.backup"),
    *("kubeconfig", "*.kubeconfig", ".s3cfg", ".boto", "auth_token"),
)
_FOLDERS = frozenset({".aws", ".ssh", ".gnupg", ".kube", ".azure", ".gcloud", ".docker", "secrets"})
# Letters in front or behind would make it part of a hash or of a name.
_KEYS = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=:]",
    "an AWS access key": rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])",
    "an AWS secret key": rb"(?i)aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a GitHub token": rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})",
    "a Google key": rb"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20}",
    "a Hugging Face token": rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])",
    "an OpenAI or Anthropic key": rb"(?<![A-Za-z0-9])sk-(?:proj-|ant-)?[A-Za-z0-9_-]{40}",
    "a JSON web token": rb"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20}",
    "a password in a URL": rb"://[^\s/:@\"'<>{}$]*:[^\s/:@\"'<>{}$]{3,}@[A-Za-z0-9]",
}
_PATTERNS = {what: re.compile(pattern) for what, pattern in _KEYS.items()}
# What stands in manuals and tests in place of a key.
_PLACEHOLDER = re.compile(rb"EXAMPLE|(?i:example|changeme|password@|secret@|pass@|xxxx|pw@|hidden@)")
_SECRET_VARIABLE = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|PRIVATE|CREDENTIAL|(?:^|_)API_?KEYS?$|(?:^|_)KEYS?$")
_POINTERS = ("_FILE", "_PATH", "_DIR", "_PROFILE")
# Shorter ones are in every text.
_LEAST_VALUE = 12


def is_secret_file(path: str) -> bool:
    """Whether a file holds secrets by its name or its folder's; path: relative, with /."""
    *folders, name = path.lower().split("/")
    if name.endswith((".py", *_TEMPLATES)):
        return False  # a module or an example; what is in it is looked at all the same
    return any(folder in _FOLDERS for folder in folders) or any(fnmatch(name, each) for each in _NAMES)


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable holds a secret by its name. One that names a file or a profile holds none."""
    return bool(_SECRET_VARIABLE.search(name.upper())) and not name.upper().endswith(_POINTERS)


def known_values(settings: Settings, environment: Mapping[str, str] = os.environ) -> dict[str, bytes]:
    """The secrets of this shell by their variables' names, to find them where they should not be."""
    found = {name: value for name, value in environment.items() if is_secret_variable(name)}
    for field in type(settings).model_fields:
        if isinstance(value := getattr(settings, field), SecretStr):
            found[f"ONESHEET_{field.upper()}"] = value.get_secret_value()
    return {name: value.encode() for name, value in found.items() if len(value) >= _LEAST_VALUE}


def find_secret(data: bytes, known: Mapping[str, bytes]) -> tuple[str, int] | None:
    """What looks like a key in the text, and in which line; the key itself is never told.

    known: values of this shell's secrets by name.
    """
    for name, value in known.items():
        if (at := data.find(value)) >= 0:
            return f"the value of {name}", data.count(b"\n", 0, at) + 1
    for what, pattern in _PATTERNS.items():
        for match in pattern.finditer(data):
            line = data[data.rfind(b"\n", 0, match.start()) + 1 :][: match.end() - match.start() + 200].split(b"\n")[0]
            if not _PLACEHOLDER.search(line):
                return what, data.count(b"\n", 0, match.start()) + 1
    return None
