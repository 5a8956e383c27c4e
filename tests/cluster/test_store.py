"""The store's contract, kept by a folder and by two real S3 servers; and what goes wrong, said in one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.fs
import pytest

from cluster.errors import KeyExistsError, KeyNotFoundError, StoreError, StoreUnavailableError
from cluster.store import FolderStore, Store, open_store
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server, free_ports


@pytest.fixture(params=["folder", "swift", "moto"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if kind == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(fresh_bucket(request.getfixturevalue(f"{kind}_server"), monkeypatch) + "/some/prefix")


@contextlib.contextmanager
def answering(status: int, code: str, promised: int | None = None) -> Iterator[str]:
    """The address of a server that gives every request this answer; promised: a length that it then falls short of."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # with 100 Continue, for which boto3 waits a second

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(promised or len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_GET = do_PUT = do_HEAD = answer  # noqa: N815 - http.server's names

        def log_message(self, *arguments: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TestEveryStore:
    def test_what_was_put_is_got(self, store: Store) -> None:
        for data in (b"", b"\x00\xff" * 20_000):
            store.put("posters/tt0012345.jpg", data, content_type="image/jpeg")
            assert store.get("posters/tt0012345.jpg") == data

    def test_a_put_replaces_the_object_that_was_there(self, store: Store) -> None:
        store.put("models/production.json", b"a longer first version")
        store.put("models/production.json", b"second")
        assert store.get("models/production.json") == b"second"

    def test_a_missing_object_is_not_found(self, store: Store) -> None:
        assert not store.exists("posters/tt0000001.jpg")
        with pytest.raises(KeyNotFoundError, match=r"posters/tt0000001\.jpg does not exist"):
            store.get("posters/tt0000001.jpg")

    def test_only_an_exact_key_exists(self, store: Store) -> None:
        store.put("posters/tt0012345.jpg", b"1")
        assert store.exists("posters/tt0012345.jpg")
        assert not store.exists("posters")
        assert not store.exists("posters/tt0012345")

    def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store: Store) -> None:
        store.put("a/b", b"1")
        store.delete("a/b")
        store.delete("a/b")
        assert not store.exists("a/b")
        assert list(store.list()) == []

    def test_keys_are_listed_in_the_order_of_s3(self, store: Store) -> None:
        keys = ["a-b", "a.jpg", "a/b-c/d", "a/b.c", "a0", "b", "B", "_c"]
        for key in keys:
            store.put(key, b"")
        assert list(store.list()) == sorted(keys)
        assert list(store.list("a/")) == ["a/b-c/d", "a/b.c"]
        assert list(store.list("a/b-")) == ["a/b-c/d"]
        assert list(store.list("nothing/")) == []

    def test_a_file_is_put_whole_and_read_in_parts(self, store: Store, tmp_path: Path) -> None:
        data = os.urandom(12_000_000)
        path = tmp_path / "large"
        path.write_bytes(data)
        with path.open("rb") as file:
            file.seek(100)
            store.put_file("a/large", file)
        assert store.get("a/large") == data
        with store.open("a/large") as part:
            part.seek(-5, os.SEEK_END)
            assert (part.tell(), part.read()) == (len(data) - 5, data[-5:])
            part.seek(1_000_000)
            assert part.read(3_000_000) == data[1_000_000:4_000_000]
            assert part.seek(10, os.SEEK_CUR) == 4_000_010
            assert part.read(10) == data[4_000_010:4_000_020]
            part.seek(20_000_000)
            assert part.read() == b""
        assert [key for key in store.list() if "part" in key] == []

    def test_an_absent_object_cannot_be_opened(self, store: Store) -> None:
        store.put("a/b", b"1")
        for key in ("a", "none", "a/b/c"):
            with pytest.raises(KeyNotFoundError, match=f"{key} does not exist"):
                store.open(key)

    def test_an_empty_object_opens_as_an_empty_file(self, store: Store) -> None:
        store.put_file("empty", io.BytesIO())
        with store.open("empty") as file:
            assert (file.read(), file.seekable()) == (b"", True)

    def test_folders_are_the_names_that_have_keys_below_them(self, store: Store) -> None:
        assert list(store.folders("crawls/")) == []
        for key in ("crawls/b/ledger/1", "crawls/b/summary.json", "crawls/a.b/x", "crawls/file", "posters/1.jpg"):
            store.put(key, b"")
        assert list(store.folders("crawls/")) == ["a.b", "b"]
        assert list(store.folders("")) == ["crawls", "posters"]
        store.delete("crawls/a.b/x")
        assert list(store.folders("crawls/")) == ["b"]
        for prefix in ("crawls", "../"):
            with pytest.raises(StoreError, match="is not a storage"):
                list(store.folders(prefix))

    def test_put_if_absent_keeps_the_first(self, store: Store) -> None:
        store.put("once", b"first", if_absent=True)
        with pytest.raises(KeyExistsError, match="once exists already"):
            store.put("once", b"second", if_absent=True)
        assert store.get("once") == b"first"

    def test_a_reader_never_sees_a_part_of_an_object(self, store: Store) -> None:
        versions = [bytes([letter]) * 400_000 for letter in b"ab"]
        store.put("object", versions[0])
        stop = threading.Event()

        def write() -> None:
            for data in itertools.cycle(versions):
                if stop.is_set():
                    return
                store.put("object", data)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            seen = [store.get("object") for _ in range(30)]
        finally:
            stop.set()
            writer.join()
        assert all(data in versions for data in seen)

    @pytest.mark.parametrize(
        "key", ["", "/", "/etc/passwd", "../x", "a/../x", "a//b", "a/", ".hidden", "a/.b", "a b", "a\n", "ä", "a" * 901]
    )
    def test_a_key_that_some_store_cannot_hold_is_refused(self, store: Store, key: str) -> None:
        for use in (store.get, store.exists, store.delete, lambda key: store.put(key, b"")):
            with pytest.raises(StoreError, match="is not a storage key"):
                use(key)

    @pytest.mark.parametrize("prefix", ["/", "/etc/", "..", "../", "a/../b", ".", "a b"])
    def test_a_prefix_outside_the_store_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(StoreError, match="is not a storage prefix"):
            list(store.list(prefix))

    def test_check_is_silent_and_leaves_nothing_behind(self, store: Store) -> None:
        store.check()
        assert list(store.list()) == []

    def test_a_pickled_store_works_in_another_process(self, store: Store) -> None:
        store.put("key", b"data")
        script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get('key').decode())"
        assert subprocess.check_output([sys.executable, "-c", script], input=pickle.dumps(store)) == b"data\n"

    def test_frameworks_write_read_list_and_delete_through_the_filesystem(self, store: Store) -> None:
        filesystem, root = store.filesystem()
        filesystem = pickle.loads(pickle.dumps(filesystem))
        folder = f"{root}/runs/one/checkpoint_000001"
        filesystem.create_dir(folder)
        for name, size in (("small", 10), ("large", 12_000_000)):
            with filesystem.open_output_stream(f"{folder}/{name}") as stream:
                stream.write(b"x" * size)
        assert store.get("runs/one/checkpoint_000001/small") == b"x" * 10
        # The filesystem marks folders by objects of its own; they are no keys.
        assert [key.rpartition("/")[2] for key in store.list()] == ["large", "small"]
        with filesystem.open_input_stream(f"{folder}/large") as stream:
            assert len(stream.read()) == 12_000_000
        listed = filesystem.get_file_info(pyarrow.fs.FileSelector(folder))
        assert sorted(info.base_name for info in listed) == ["large", "small"]
        filesystem.delete_dir_contents(folder)
        assert filesystem.get_file_info(folder).type == pyarrow.fs.FileType.Directory
        filesystem.delete_dir(folder)
        assert filesystem.get_file_info(folder).type == pyarrow.fs.FileType.NotFound
        with pytest.raises(FileNotFoundError):
            filesystem.delete_dir(folder)

    def test_a_put_that_is_killed_leaves_nothing_listed(self, store: Store, kind: str) -> None:
        script = (
            "import pickle, sys; store = pickle.load(sys.stdin.buffer); data = bytes(300_000_000)\n"
            "print('writing', flush=True); store.put('posters/large', data); print('written', flush=True)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdin
            assert writer.stdout
            writer.stdin.write(pickle.dumps(store))
            writer.stdin.close()
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(0.02 if kind == "folder" else 0.2)
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout.read() == b"", "the put ended before the kill: make the object larger"
        assert list(store.list()) == []
        assert not store.exists("posters/large")


@pytest.mark.parametrize("kind", ["folder", "moto"])
class TestAStoreWithConditionalPuts:
    def test_exactly_one_of_many_racing_writers_wins(self, store: Store) -> None:
        for attempt in range(5):
            start = threading.Barrier(8)
            winners: list[bytes] = []

            def write(name: bytes, key: str, start: threading.Barrier, winners: list[bytes]) -> None:
                start.wait()
                try:
                    store.put(key, name * 10_000, if_absent=True)
                except KeyExistsError:
                    return
                winners.append(name)

            writers = [
                threading.Thread(target=write, args=(bytes([65 + number]), f"race/{attempt}", start, winners))
                for number in range(8)
            ]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            assert len(winners) == 1
            assert store.get(f"race/{attempt}") == winners[0] * 10_000

    def test_more_than_a_thousand_keys_are_listed_lazily(self, store: Store) -> None:
        keys = [f"posters/tt{number:07}.jpg" for number in range(1100)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        listing = store.list("posters/")
        assert isinstance(listing, Iterator)
        assert next(listing) == keys[0]
        assert [keys[0], *listing] == keys


class TestOnS3:
    def test_an_absent_bucket_is_named_by_every_call(
        self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fresh_bucket(s3_server, monkeypatch)
        store = open_store("s3://no-such-bucket/data")
        for use in (
            lambda: store.put("key", b""),
            lambda: store.put("key", b"", if_absent=True),
            lambda: store.get("key"),
            lambda: store.exists("key"),
            lambda: store.delete("key"),
            lambda: list(store.list()),
            store.check,
        ):
            with pytest.raises(StoreError, match="no bucket 'no-such-bucket'; create it or correct the store"):
                use()

    @pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
    def test_wrong_credentials_are_said_to_be_refused(
        self, swift_server: S3Server, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        url = fresh_bucket(swift_server, monkeypatch)
        monkeypatch.setenv(variable, "wrong:wrong")
        store = open_store(url)
        for use in (store.check, lambda: store.get("key"), lambda: store.exists("key"), lambda: list(store.list())):
            with pytest.raises(StoreError, match=rf"{url} at http://.* the credentials are refused .*{variable}"):
                use()

    def test_missing_credentials_are_asked_for(self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        url = fresh_bucket(moto_server, monkeypatch)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        with pytest.raises(StoreError, match=r"no usable credentials .* set AWS_ACCESS_KEY_ID"):
            open_store(url).check()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only-half")
        with pytest.raises(StoreError, match=r"missing: AWS_SECRET_ACCESS_KEY"):
            open_store(url).check()

    def test_a_profile_that_does_not_exist_is_named(
        self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = fresh_bucket(moto_server, monkeypatch)
        monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
        with pytest.raises(StoreError, match="no-such-profile"):
            open_store(url).check()

    def test_a_server_that_is_not_there_is_given_up_within_seconds(
        self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = fresh_bucket(moto_server, monkeypatch)
        endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=f"{endpoint} cannot be reached: .*; check AWS_ENDPOINT_URL_S3"):
            open_store(url).check()
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (503, "SlowDown", StoreUnavailableError),
            (500, "InternalError", StoreUnavailableError),
            (502, "", StoreUnavailableError),
            (429, "TooManyRequests", StoreUnavailableError),
            (400, "RequestTimeout", StoreUnavailableError),
            (507, "InsufficientStorage", StoreError),
            (400, "InvalidArgument", StoreError),
            (403, "AccessDenied", StoreError),
        ],
    )
    def test_a_server_that_asks_for_patience_is_told_from_one_that_says_no(
        self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[StoreError]
    ) -> None:
        fresh_bucket(moto_server, monkeypatch)
        monkeypatch.setattr(time, "sleep", lambda _: None)  # between boto3's own tries
        with answering(status, code) as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            store = open_store("s3://bucket/data")
            for use in (lambda: store.put("key", b"1"), lambda: store.get("key"), lambda: list(store.list())):
                with pytest.raises(StoreError) as caught:
                    use()
                assert type(caught.value) is kind

    def test_a_connection_that_is_cut_in_an_answer_is_a_passing_failure(
        self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fresh_bucket(moto_server, monkeypatch)
        with answering(200, "", promised=1000) as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            with pytest.raises(StoreUnavailableError):
                open_store("s3://bucket/data").get("key")

    def test_neither_the_store_nor_its_filesystem_carries_credentials(
        self, swift_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(fresh_bucket(swift_server, monkeypatch))
        store.check()
        for carried in (store, store.filesystem()):
            pickled = pickle.dumps(carried)
            assert swift_server.secret_key.encode() not in pickled
            assert swift_server.access_key.encode() not in pickled

    def test_a_worker_without_our_variables_unpickles_a_filesystem_that_can_write(
        self, swift_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(fresh_bucket(swift_server, monkeypatch))
        script = (
            "import pickle, sys; filesystem, root = pickle.load(sys.stdin.buffer)\n"
            "with filesystem.open_output_stream(f'{root}/key') as stream: stream.write(b'data')"
        )
        environment = {name: value for name, value in os.environ.items() if "CHECKSUM" not in name}
        subprocess.run(
            [sys.executable, "-c", script], input=pickle.dumps(store.filesystem()), env=environment, check=True
        )
        assert store.get("key") == b"data"

    def test_two_prefixes_of_a_bucket_do_not_see_each_other(self, s3_url: str) -> None:
        one, another = open_store(f"{s3_url}/data"), open_store(f"{s3_url}/data2")
        one.put("key", b"1")
        assert list(another.list()) == []
        assert list(open_store(s3_url).list()) == ["data/key"]
        assert one.url_of("key") == f"{s3_url}/data/key"


class TestInAFolder:
    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path: Path) -> None:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
        mounted = subprocess.run(mount, check=False, capture_output=True)
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
        try:
            store = FolderStore(tmp_path)
            full = rf"cannot write .*large: no space left on the device of {tmp_path}; free some, then run the same"
            for put in (
                lambda: store.put("large", bytes(100_000)),
                lambda: store.put("large", bytes(100_000), if_absent=True),
                lambda: store.put_file("large", io.BytesIO(bytes(100_000))),
            ):
                with pytest.raises(StoreError, match=full) as caught:
                    put()
                assert not isinstance(caught.value, StoreUnavailableError)
                assert list(tmp_path.iterdir()) == []
            store.put("small", bytes(10_000))
        finally:
            subprocess.run(["umount", tmp_path], check=True)

    def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(self) -> None:
        store = FolderStore(Path("/proc/onesheet"))
        with pytest.raises(StoreError, match=r"the store /proc/onesheet cannot be written: .*; set ONESHEET_STORE"):
            store.check()
        with pytest.raises(StoreError, match="cannot write /proc/onesheet/key"):
            store.put("key", b"")

    def test_a_network_drive_that_is_away_is_a_passing_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FolderStore(tmp_path)
        store.put("key", b"1")

        def stale(*_: object, **__: object) -> None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        monkeypatch.setattr(os, "open", stale)
        monkeypatch.setattr(Path, "read_bytes", stale)
        monkeypatch.setattr(os, "scandir", stale)
        for use in (lambda: store.put("key", b"2"), lambda: store.get("key"), lambda: list(store.list())):
            with pytest.raises(StoreUnavailableError, match="Stale file handle"):
                use()

    def test_a_used_up_quota_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def over(*_: object) -> int:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        monkeypatch.setattr(os, "write", over)
        with pytest.raises(StoreError, match=r"the quota is used up on the device of .*; free some") as caught:
            FolderStore(tmp_path).put("key", b"1")
        assert not isinstance(caught.value, StoreUnavailableError)
        assert list(tmp_path.iterdir()) == []

    def test_a_key_below_an_object_cannot_be_put(self, tmp_path: Path) -> None:
        store = FolderStore(tmp_path)
        store.put("a", b"1")
        for if_absent in (False, True):
            with pytest.raises(StoreError, match="cannot write") as caught:
                store.put("a/b", b"2", if_absent=if_absent)
            assert not isinstance(caught.value, KeyExistsError)

    def test_an_empty_folder_that_does_not_exist_yet_lists_nothing(self, tmp_path: Path) -> None:
        assert list(FolderStore(tmp_path / "not yet").list()) == []


class TestOpenStore:
    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("gs://bucket/x", "unknown scheme 'gs'; use s3://bucket/prefix or a folder"),
            ("s3://", "names no valid bucket"),
            ("s3://Upper_Case", "names no valid bucket"),
            ("s3://bucket/../x", "is not a storage key"),
            ("file://data/x", "names the host 'data'; use file:///path"),
        ],
    )
    def test_a_url_that_is_no_store_is_refused(self, url: str, sentence: str) -> None:
        with pytest.raises(StoreError, match=sentence):
            open_store(url)

    def test_a_file_url_and_a_path_open_the_same_folder(self, tmp_path: Path) -> None:
        open_store(f"file://{tmp_path}/a%20b").put("key", b"1")
        assert open_store(str(tmp_path / "a b")).get("key") == b"1"
