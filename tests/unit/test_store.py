"""The store is written by one server; a tool of the owner's that writes there too spoils nothing."""

import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from agentcontainer_local.store import accounts, db, ids, rows
from tests.conftest import set_context

WRITE = """
import sys, time
from pathlib import Path
from typing import get_args, get_type_hints
from agentcontainer_local.store import db
store = db.open(Path(sys.argv[1]))
with store.atomic():
    store.conn.execute("UPDATE accounts SET name = 'theirs'")
    print("writing", flush=True)
    time.sleep(0.5)
"""


def test_a_transaction_that_reads_first_waits_for_another_process_that_writes(host):
    path = host.settings.data / "agentcontainer.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout.readline() == b"writing\n"
        with host.db.atomic():
            assert accounts.only(host.db)["name"] == "theirs"
            host.db.conn.execute("UPDATE accounts SET name = 'ours'")
    assert accounts.only(host.db)["name"] == "ours"


def test_nobody_writes_between_the_reading_and_the_writing_of_a_transaction(host):
    path = host.settings.data / "agentcontainer.db"
    with host.db.atomic():
        accounts.only(host.db)
        other = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE)
        time.sleep(1)
        host.db.conn.execute("UPDATE accounts SET name = 'ours'")
    with other:
        assert other.wait(20) == 0
    assert accounts.only(host.db)["name"] == "theirs"


def test_ids_are_of_one_length_and_letters_that_spell_nothing():
    made = [db.new_id("tsk") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {len(id) for id in made} == {29}
    assert set("".join(id[4:] for id in made)) == set(ids.ALPHABET)


WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from typing import get_args, get_type_hints
from agentcontainer_local.store import db
store = db.open(Path(sys.argv[1]))
db.lengthen_log(store)
store.conn.execute("UPDATE accounts SET name = 'last words'")
os._exit(9)
"""


def test_a_log_of_full_length_from_the_start_holds_what_was_written_before_and_after(host):
    path, log = (host.settings.data / name for name in ("agentcontainer.db", "agentcontainer.db-wal"))
    host.db.conn.execute("UPDATE accounts SET name = 'before'")
    for _ in range(2):
        db.lengthen_log(host.db)
        assert log.stat().st_size == db.LOG_BYTES
    assert accounts.only(host.db)["name"] == "before"
    host.db.conn.execute("UPDATE accounts SET name = 'after'")
    assert log.stat().st_size == db.LOG_BYTES
    host.db.close()
    assert not log.exists()

    done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    set_context(host, db=db.open(path))
    assert log.stat().st_size == db.LOG_BYTES
    assert accounts.only(host.db)["name"] == "last words"
    assert db.row(host.db, "PRAGMA integrity_check") == {"integrity_check": "ok"}


def test_a_part_of_a_transaction_fails_by_itself_at_any_depth(host):
    def rename(name: str, fail: bool = False) -> None:
        with host.db.atomic():
            host.db.conn.execute("UPDATE accounts SET name = ?", (name,))
            if fail:
                raise ValueError

    with host.db.atomic():
        rename("first")
        with host.db.atomic(), pytest.raises(ValueError):
            rename("lost", fail=True)
        assert accounts.only(host.db)["name"] == "first"
        with pytest.raises(ValueError), host.db.atomic():
            rename("within")
            raise ValueError
    assert accounts.only(host.db)["name"] == "first"
    assert not host.db.conn.in_transaction


def test_what_waits_for_a_commit_is_done_after_it_in_order_and_never_for_what_was_undone(host):
    done = []

    def note(word: str) -> None:
        host.db.when_kept(lambda: done.append((word, host.db.conn.in_transaction)))

    with host.db.atomic():
        note("first")
        with pytest.raises(ValueError), host.db.atomic():
            note("undone")
            raise ValueError
        with host.db.atomic():
            note("second")
        assert done == []
    assert done == [("first", False), ("second", False)]
    with pytest.raises(ValueError), host.db.atomic():
        note("lost")
        raise ValueError
    with host.db.atomic():
        pass
    assert len(done) == 2


def test_each_who_watches_a_table_hears_of_each_write_to_it_and_of_no_other(host):
    heard = []
    host.db.at_each_write(("accounts", "api_keys"), lambda: heard.append("first"))
    host.db.at_each_write(("accounts",), lambda: heard.append("second"))
    host.db.conn.execute("UPDATE accounts SET name = 'new'")
    assert sorted(heard) == ["first", "second"]
    host.db.conn.execute("DELETE FROM api_keys")
    host.db.conn.execute("DELETE FROM idempotency_keys")
    accounts.only(host.db)
    assert sorted(heard) == ["first", "first", "second"]


def test_a_query_that_always_finds_a_row_says_so_when_it_finds_none(host):
    assert db.single(host.db, "SELECT count(*) AS n FROM tasks") == {"n": 0}
    with pytest.raises(LookupError):
        db.single(host.db, "SELECT id FROM tasks")


@pytest.mark.parametrize(
    ("table", "of"),
    [("tasks", rows.Task), ("runs", rows.Run), ("messages", rows.Message), ("agent_versions", rows.AgentVersion)],
)
def test_the_type_of_a_row_has_the_columns_of_its_table(host, table, of):
    columns = db.rows(host.db, f"PRAGMA table_info({table})")
    nullable = {column["name"]: not (column["notnull"] or column["pk"]) for column in columns}
    hints = get_type_hints(of)
    assert {name: type(None) in get_args(hints[name]) for name in of.__required_keys__} == nullable
