"""What of a working tree is sent with a job: code, and neither data nor secrets."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.job_package import choose_files, find_project, write_zip
from cluster.job_upload import job_environment, packed
from cluster.secret_patterns import find_secret, is_secret_file, is_secret_variable
from cluster.settings import load_settings
from tests.conftest import ROOT

# In parts, so that this file itself can be sent.
AWS_KEY = "AKIA" + "IOSFODNN7ABCDEFG"
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n"


def put(root: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    return put(root, **files)


def test_ignore_files_count_at_every_level_and_the_nearest_decides(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            ".gitignore": "*.log\n/build/\n",
            ".rayignore": "docs/\n",
            "a.log": "",
            "a.py": "",
            "build/x.py": "",
            "docs/d.md": "",
            "sub/.gitignore": "!keep.log\nsecret_plan.txt\n",
            "sub/keep.log": "",
            "sub/other.log": "",
            "sub/secret_plan.txt": "",
            "sub/build/y.py": "",
            ".git/config": "",
            ".venv/pyvenv.cfg": "",
            ".venv/lib.py": "",
            "__pycache__/a.pyc": "",
        },
    )
    assert choose_files(tmp_path).files == (
        ".gitignore",
        ".rayignore",
        "a.py",
        "sub/.gitignore",
        *("sub/build/y.py", "sub/keep.log"),
    )


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs this project's own history")
def test_what_is_sent_of_this_project_is_what_git_would_track() -> None:
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\n")
    package = choose_files(ROOT)
    assert set(package.files) == {name for name in tracked if name and (ROOT / name).is_file()}
    assert package.left_out == {}


def test_secrets_data_and_links_out_of_the_tree_stay_and_are_named(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "tree",
        {
            "code.py": "",
            ".env": "X=1",
            "config/.env.production": "X=1",
            ".env.example": "X=",
            "server.key": "",
            ".aws/credentials": "",
            "weights.h5": "",
            "titles.csv": "small",
            "big.csv": b"0" * 6_000_000,
            "store/crawls/x/catalog.json": "",
            "store/posters/tt1.jpg": "",
            **{f"images/{number}.jpg": "" for number in range(60)},
            "docs/page.png": "",
        },
    )
    (root / "outside").symlink_to(tmp_path)
    (root / "passwords").symlink_to("/etc/passwd")
    package = choose_files(root)
    assert package.files == (".env.example", "code.py", "docs/page.png", "titles.csv")
    assert sorted(package.left_out["secrets"]) == [".aws/credentials", ".env", "config/.env.production", "server.key"]
    assert {"big.csv", "store/", "weights.h5", "images/7.jpg"} <= set(package.left_out["data"])
    assert package.left_out["links out of the tree"] == ["passwords"]
    assert package.left_out["links to folders"] == ["outside"]
    told = list(package.told())
    assert told[0].endswith("tree: 4 files, 0.0 MB")
    assert any(line.startswith("left out as data: big.csv, images/0.jpg") and "and 59 more" in line for line in told)


def test_data_that_the_command_names_is_sent_but_never_a_secret(tmp_path: Path) -> None:
    tree(tmp_path, {"big.csv": b"0" * 6_000_000, ".env": "X=1", "code.py": ""})
    package = choose_files(tmp_path, named=["crawl", "./big.csv", ".env"])
    assert package.files == ("big.csv", "code.py")
    assert package.left_out == {"secrets": [".env"]}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"key = '{AWS_KEY}'", "an AWS access key"),
        (PRIVATE_KEY, "a private key"),
        ("aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCY0123456789", "an AWS secret key"),
        ("hf_" + "a1B2" * 8 + "zz", "a Hugging Face token"),
        ("postgres://crawler:" + "s3cr3tpw1@db:5432/x", "a password in a URL"),
        ("tell: " + "my-very-own-tmdb-value", "the value of ONESHEET_TMDB_TOKEN"),
    ],
)
def test_a_file_with_a_key_in_it_is_refused_without_telling_the_key(tmp_path: Path, text: str, what: str) -> None:
    tree(tmp_path, {"a.py": "", "b/conf.py": f"\n\n{text}\n"})
    with pytest.raises(ClusterError) as caught:
        choose_files(tmp_path, known={"ONESHEET_TMDB_TOKEN": b"my-very-own-tmdb-value"})
    assert str(caught.value).startswith(f"b/conf.py, line 3, holds {what}: not sent")
    assert text.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["AKIAIOSFODNN7" + "EXAMPLE", "https://user:password@host", "http://host:8265/x@y", "sha256:" + "ab" * 32]
)
def test_examples_of_keys_are_no_keys(text: str) -> None:
    assert find_secret(text.encode(), {}) is None


def test_names_of_secrets() -> None:
    assert is_secret_file("a/id_rsa")
    assert not is_secret_file("cluster/secret_patterns.py")
    assert is_secret_variable("AWS_SECRET_ACCESS_KEY")
    assert is_secret_variable("ONESHEET_API_KEYS")
    assert not is_secret_variable("AWS_SHARED_CREDENTIALS_FILE")
    assert not is_secret_variable("ONESHEET_SECRETS_DIR")


def test_more_than_the_limit_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    tree(tmp_path, {"a.txt": b"0" * 900, "b.txt": b"0" * 200})
    with pytest.raises(ClusterError, match=r"more than 0; the largest: a.txt \(0.0 MB\), b.txt .*--no-working-dir"):
        choose_files(tmp_path, max_bytes=1000)


def test_the_same_tree_is_packed_to_the_same_bytes(tmp_path: Path) -> None:
    tree(tmp_path / "one", {"a.py": "1", "run.sh": "#!/bin/sh\n"})
    (tmp_path / "one" / "run.sh").chmod(0o755)
    for name in ("x.zip", "y.zip"):
        (tmp_path / "one" / "a.py").touch()
        write_zip(choose_files(tmp_path / "one"), tmp_path / name)
    assert (tmp_path / "x.zip").read_bytes() == (tmp_path / "y.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["a.py", "run.sh"]
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o755


def test_the_project_around_a_folder(tmp_path: Path) -> None:
    tree(tmp_path, {"p/pyproject.toml": "", "p/sub/deep/x.py": "", "q/x.py": ""})
    assert find_project(tmp_path / "p" / "sub" / "deep") == tmp_path / "p"
    assert find_project(tmp_path / "q") in (None, find_project(tmp_path))


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        tree(tmp_path / "p", {"pyproject.toml": "", "titles.csv": "a", "sub/x.csv": "", "images/1.jpg": ""})
        tree(tmp_path, {"outside.csv": ""})
        monkeypatch.chdir(tmp_path / "p")
        return tmp_path / "p"

    def test_a_file_of_the_tree_is_sent_with_it(self) -> None:
        with packed(["crawl", "titles.csv", "--images", "images/"], load_settings(), None, is_wanted=True) as path:
            assert path is not None
            with zipfile.ZipFile(path) as archive:
                assert {"titles.csv", "images/1.jpg"} <= set(archive.namelist())
        assert not path.exists()

    @pytest.mark.parametrize("word", ["../outside.csv", "--catalog=../outside.csv"])
    def test_a_file_outside_the_tree_is_refused(self, word: str) -> None:
        with (
            pytest.raises(ClusterError, match=r"\.\./outside.csv is on this machine only"),
            packed(["crawl", word], load_settings(), None, is_wanted=True),
        ):
            pass

    def test_a_file_is_refused_where_the_job_starts_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with (
            pytest.raises(ClusterError, match=r"titles\.csv is on this machine only"),
            packed(["crawl", "titles.csv"], load_settings(), None, is_wanted=False),
        ):
            pass
        monkeypatch.chdir("sub")
        with (
            pytest.raises(ClusterError, match=r"x\.csv is on this machine only"),
            packed(["crawl", "x.csv"], load_settings(), None, is_wanted=True),
        ):
            pass

    def test_a_key_in_the_command_is_refused(self) -> None:
        with (
            pytest.raises(ClusterError, match="the command holds an AWS access key") as caught,
            packed(["crawl", AWS_KEY], load_settings(), None, is_wanted=True),
        ):
            pass
        assert AWS_KEY not in str(caught.value)

    def test_a_working_folder_that_does_not_exist_is_named(self) -> None:
        with (
            pytest.raises(ClusterError, match="the working folder /no/such does not exist"),
            packed(["crawl"], load_settings(), Path("/no/such"), is_wanted=True),
        ):
            pass


class TestTheEnvironment:
    def test_settings_go_by_value_and_secrets_not_at_all(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("ONESHEET_TMDB_TOKEN", "hidden-hidden-hidden")
        monkeypatch.setenv("ONESHEET_CONTACT", "me@example.org")
        monkeypatch.setenv("AWS_PROFILE", "posters")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ONESHEET_STORE", "here")
        assert job_environment(load_settings(), ["AWS_PROFILE", "X=1"]) == {
            "ONESHEET_CONTACT": "me@example.org",
            "ONESHEET_STORE": str(tmp_path / "here"),
            "AWS_PROFILE": "posters",
            "X": "1",
        }

    @pytest.mark.parametrize(
        "word", ["AWS_SECRET_ACCESS_KEY", "ONESHEET_TMDB_TOKEN=abc", f"INNOCENT={AWS_KEY}", "COPY=hidden-hidden-hidden"]
    )
    def test_a_secret_that_is_asked_for_is_refused(self, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-hidden-hidden")
        with pytest.raises(ClusterError, match=r"is not passed on to a job: .*ONESHEET_SECRETS_DIR") as caught:
            job_environment(load_settings(), [word])
        assert "hidden" not in str(caught.value)

    def test_a_variable_that_is_not_set_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NOT_THERE", raising=False)
        with pytest.raises(ClusterError, match="--env NOT_THERE: it is not set here"):
            job_environment(load_settings(), ["NOT_THERE"])

    def test_secrets_are_read_from_files_where_a_folder_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        tree(tmp_path, {"ONESHEET_TMDB_TOKEN": "from-a-file\n", "ONESHEET_OMDB_KEY": "from-a-file"})
        monkeypatch.setenv("ONESHEET_SECRETS_DIR", str(tmp_path))
        monkeypatch.setenv("ONESHEET_OMDB_KEY", "from-the-environment")
        settings = load_settings()
        assert settings.tmdb_token
        assert settings.omdb_key
        assert settings.tmdb_token.get_secret_value() == "from-a-file"
        assert settings.omdb_key.get_secret_value() == "from-the-environment"
        assert job_environment(settings) == {"ONESHEET_SECRETS_DIR": str(tmp_path)}

    def test_a_folder_of_secrets_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONESHEET_SECRETS_DIR", "/no/such")
        with pytest.raises(ClusterError, match="ONESHEET_SECRETS_DIR='/no/such' is no folder"):
            load_settings()
