"""Downloads against a server of our own that can break off, refuse ranges, or lie."""

import functools
import hashlib
import http.server
import re
import threading
import zipfile
from pathlib import Path

import pytest

from arch.data.corpora import downloads

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; sends `server.limit` bytes at most of what it announces."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked and server.with_ranges else 0
        content = server.content
        if server.status != 200 or start >= len(content):
            self.send_error(416 if server.status == 200 else server.status)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + server.limit])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.limit, server.ranges = CONTENT, len(CONTENT), []
        server.with_ranges, server.status = True, 200
        server.url = f"http://127.0.0.1:{server.server_port}/corpus.bin"
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "folder" / "corpus.bin"


def part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def test_a_file_is_fetched_once(server, path):
    assert downloads.fetch(server.url, path, sha256=DIGEST).read_bytes() == CONTENT
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert len(server.ranges) == 1
    assert not part(path).exists()


def test_a_broken_transfer_goes_on_where_it_stopped(server, path):
    server.limit = len(CONTENT) // 2
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_truncated_download_is_kept_as_a_part_and_never_taken_for_whole(server, path):
    server.limit = 1000
    with pytest.raises(downloads.DownloadError, match="broke off at 3000 of 1048576 bytes; 3000 b"):
        downloads.fetch(server.url, path, sha256=DIGEST)
    assert not path.exists()
    assert part(path).read_bytes() == CONTENT[:3000]
    server.limit = len(CONTENT)
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=3000-"


def test_a_server_without_ranges_sends_the_file_anew(server, path):
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:1000])
    server.with_ranges = False
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT


def test_a_part_of_another_file_is_dropped_and_fetched_afresh(server, path):
    path.parent.mkdir()
    part(path).write_bytes(b"something else")
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("leftover", [CONTENT, CONTENT + b"more"], ids=["whole", "longer"])
def test_a_part_with_nothing_left_to_fetch_is_judged_by_its_digest(server, path, leftover):
    path.parent.mkdir()
    part(path).write_bytes(leftover)
    downloads.fetch(server.url, path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_the_published_ones_are_refused(server, path):
    server.content = CONTENT[::-1]
    with pytest.raises(downloads.DownloadError, match=f"not the published .* expected {DIGEST}"):
        downloads.fetch(server.url, path, sha256=DIGEST)
    assert not path.exists()
    assert not part(path).exists()


def test_a_refusal_is_final_and_named(server, path):
    server.status = 404
    with pytest.raises(downloads.DownloadError, match="the server says 404"):
        downloads.fetch(server.url, path, sha256=DIGEST)
    assert len(server.ranges) == 1


def test_a_host_that_does_not_answer_is_one_line(path):
    with pytest.raises(downloads.DownloadError) as caught:
        downloads.fetch("http://127.0.0.1:1/corpus.bin", path, sha256=DIGEST, timeout=0.5)
    assert "\n" not in str(caught.value)


def test_processes_that_fetch_at_once_make_one_transfer(server, path):
    threads = [
        threading.Thread(target=downloads.fetch, args=(server.url, path), kwargs={"sha256": DIGEST})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_members_of_an_archive_are_unpacked_by_base_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as archive:
        archive.writestr("wikitext-2/wiki.train.tokens", "text")
        archive.writestr("wikitext-2/README", "not wanted")
    downloads.unzip(tmp_path / "corpus.zip", ("wiki.train.tokens",), tmp_path)
    assert (tmp_path / "wiki.train.tokens").read_text() == "text"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus.zip", "wiki.train.tokens"]


def test_an_archive_that_is_damaged_or_lacks_a_member_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as archive:
        archive.writestr("other", "text")
    with pytest.raises(downloads.DownloadError, match="no text8 in it; it has .'other'"):
        downloads.unzip(tmp_path / "corpus.zip", ("text8",), tmp_path)
    (tmp_path / "corpus.zip").write_bytes(b"not an archive")
    with pytest.raises(downloads.DownloadError, match="corpus.zip"):
        downloads.unzip(tmp_path / "corpus.zip", ("text8",), tmp_path)


def test_the_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ARCH_CACHE_DIR", raising=False)
    assert downloads.cache_directory() == tmp_path / "arch-variants"
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "own"))
    assert downloads.cache_directory() == tmp_path / "own"
