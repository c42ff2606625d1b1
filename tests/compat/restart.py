"""A happybase connection and scan over a restart of the store: restart.py PORT. Says `written`, waits for a line, goes on."""
import sys

import happybase

connection = happybase.Connection("127.0.0.1", int(sys.argv[1]), timeout=120_000)
connection.create_table("r", {"f": dict()})
table = connection.table("r")
table.put(b"a", {b"f:q": b"before"})
table.put(b"b", {b"f:q": b"scanned"})
scan = table.scan(batch_size=1)
first = next(scan)
print("written", flush=True)
sys.stdin.readline()
rest = [value[b"f:q"] for _, value in scan]
table.put(b"c", {b"f:q": b"after"})
print([first[1][b"f:q"], *rest, table.row(b"c")[b"f:q"]], flush=True)
