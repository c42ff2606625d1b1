"""The documented API of happybase over a Thrift 1 server: what each call answers, line by line.

    happybase_api.py PORT TRANSPORT PROTOCOL [PREFIX]

Prints nothing that changes from run to run, so that outputs over different wires, or of different servers, can be compared.
"""
import sys
import threading
import time

import happybase
from thriftpy2.thrift import TApplicationException
from happybase import Connection, ConnectionPool
from Hbase_thrift import AlreadyExists, IllegalArgument, IOError as HbaseError  # happybase's own module of its service

port, transport, protocol = int(sys.argv[1]), sys.argv[2], sys.argv[3]
prefix = sys.argv[4] if len(sys.argv) > 4 else "hb"
wire = dict(host="127.0.0.1", port=port, transport=transport, protocol=protocol, timeout=120_000)


def show(what, value):
    if isinstance(value, dict):
        value = dict(sorted(value.items()))
    print(f"{what}: {value!r}", flush=True)


def fails(what, call, *kinds):
    try:
        value = call()
    except TApplicationException as error:
        print(f"{what}: no declared error", flush=True)
    except kinds as error:
        print(f"{what}: {type(error).__name__}", flush=True)
    else:
        print(f"{what}: no error, {value!r}", flush=True)


connection = Connection(table_prefix=prefix, **wire)
for name in connection.tables():
    connection.delete_table(name, disable=True)
show("tables of an empty store", connection.tables())

connection.create_table(
    "t",
    {
        "a": dict(),
        "b": dict(max_versions=1, block_cache_enabled=True, bloom_filter_type="ROW"),
        "c:": dict(max_versions=10, time_to_live=86400, compression="GZ", in_memory=True),
    },
)
show("tables", connection.tables())
fails("create again", lambda: connection.create_table("t", {"a": dict()}), AlreadyExists)
fails("create without families", lambda: connection.create_table("u", {}), ValueError)
fails("create with a bad name", lambda: connection.create_table("no/name", {"a": dict()}), IllegalArgument, HbaseError)
fails("drop an enabled table", lambda: connection.delete_table("t"), HbaseError)
fails("drop a missing table", lambda: connection.delete_table("missing"), HbaseError)
table = connection.table("t")
show("name", table.name)
for name, family in sorted(table.families().items()):
    show(f"family {name}", family)
for region in table.regions():
    show("region", {key: region[key] for key in ("start_key", "end_key", "version")})
    show("region name", region["name"].split(b",")[0])
show("enabled", connection.is_table_enabled("t"))
connection.disable_table("t")
show("enabled after disable", connection.is_table_enabled("t"))
fails("read a disabled table", lambda: table.row(b"r1"), HbaseError)
connection.enable_table("t")
show("enabled after enable", connection.is_table_enabled("t"))
connection.compact_table("t")
connection.compact_table("t", major=True)

table.put(b"r1", {b"a:x": b"1", b"a:y": b"2", b"b:": b"nameless", b"c:\x00\xff": b"\xff\x00"}, timestamp=1000)
table.put(b"r1", {b"a:x": b"newer"}, timestamp=2000)
table.put(b"r1", {b"a:x": b"newest"}, timestamp=3000, wal=False)
table.put(b"r2", {b"a:x": b"other"}, timestamp=1500)
show("row", table.row(b"r1"))
show("row with timestamps", table.row(b"r1", include_timestamp=True))
show("row, a family", table.row(b"r1", columns=[b"a"]))
show("row, two columns", table.row(b"r1", columns=[b"a:y", b"b:"]))
show("row before a time", table.row(b"r1", timestamp=2000, include_timestamp=True))
show("row, columns before a time", table.row(b"r1", columns=[b"a:x"], timestamp=2001))
show("row that is not there", table.row(b"none"))
fails("row of a missing family", lambda: table.row(b"r1", columns=[b"zz:x"]), HbaseError)
fails("row of a missing table", lambda: connection.table("missing").row(b"r1"), HbaseError)
fails("put into a missing family", lambda: table.put(b"r1", {b"zz:x": b"1"}), HbaseError)
show("rows", table.rows([b"r2", b"none", b"r1"], columns=[b"a:x"]))
show("rows as a dict", dict(table.rows([b"r1", b"r2"], include_timestamp=True)))
show("rows before a time", table.rows([b"r1", b"r2"], timestamp=1600))
show("cells", table.cells(b"r1", b"a:x"))
show("two cells with timestamps", table.cells(b"r1", b"a:x", versions=2, include_timestamp=True))
show("cells before a time", table.cells(b"r1", b"a:x", versions=5, timestamp=3000))
show("cells of a family", table.cells(b"r1", b"a", versions=5, include_timestamp=True))
fails("no versions", lambda: table.cells(b"r1", b"a:x", versions=0), ValueError, TypeError)

table.delete(b"r1", columns=[b"a:y"])
show("after a column's delete", table.row(b"r1", columns=[b"a"]))
table.delete(b"r1", columns=[b"a:x"], timestamp=2000)
show("cells after a delete up to a time", table.cells(b"r1", b"a:x", versions=9, include_timestamp=True))
table.delete(b"r1", columns=[b"c"])
show("after a family's delete", table.row(b"r1"))
table.delete(b"r1")
show("after the row's delete", table.row(b"r1"))

with table.batch() as batch:
    for n in range(100):
        batch.put(b"s%03d" % n, {b"a:n": b"%d" % n, b"b:m": b"%d" % (n % 7)})
    batch.delete(b"s050")
    batch.delete(b"s051", columns=[b"a:n"])
show("batch", len(list(table.scan(row_prefix=b"s"))))
show("batch, a deleted row", table.row(b"s050"))
show("batch, a deleted column", table.row(b"s051"))
with table.batch(batch_size=7, timestamp=5_000) as batch:
    for n in range(20):
        batch.put(b"z%03d" % n, {b"a:n": b"%d" % n})
show("batch with a size and a time", list(table.scan(row_prefix=b"z", limit=2, include_timestamp=True)))
try:
    with table.batch(transaction=True) as batch:
        batch.put(b"never", {b"a:x": b"1"})
        raise KeyError("given up")
except KeyError:
    pass
show("batch given up", table.row(b"never"))
fails("batch with both", lambda: table.batch(batch_size=1, transaction=True), TypeError)

show("scan", [key for key, _ in table.scan(row_start=b"s010", row_stop=b"s015")])
show("scan with a limit", [key for key, _ in table.scan(row_start=b"s010", limit=3)])
show("scan by small batches", len(list(table.scan(row_prefix=b"s", batch_size=3))))
show("scan of a column", list(table.scan(row_start=b"s097", row_stop=b"t", columns=[b"b:m"])))
show("scan of a family", list(table.scan(row_start=b"s098", row_stop=b"t", columns=[b"a"])))
show("scan before a time", list(table.scan(timestamp=2000, include_timestamp=True)))
show("scan in order of columns", list(table.scan(row_start=b"s098", row_stop=b"t", sorted_columns=True)))
show("scan backwards", [key for key, _ in table.scan(row_start=b"s003", row_stop=b"s000", reverse=True)])
show("scan in batches of cells", list(table.scan(row_start=b"s098", row_stop=b"t", scan_batching=1)))
show("scan with a filter", [key for key, _ in table.scan(filter=b"PrefixFilter('s09') AND ValueFilter(=,'binary:95')")])
show("scan with a page filter", [key for key, _ in table.scan(row_prefix=b"s", filter="PageFilter(2)")])
show(
    "scan with a column's filter",
    [key for key, _ in table.scan(filter=b"SingleColumnValueFilter('b','m',=,'binary:3',true,true)", limit=4)],
)
fails("scan with a bad filter", lambda: list(table.scan(filter=b"NoSuchFilter('x')")), Exception)
fails("scan with both ends and a prefix", lambda: list(table.scan(row_start=b"a", row_prefix=b"b")), TypeError)
fails("scan of a missing family", lambda: list(table.scan(columns=[b"zz"])), HbaseError)
scan = table.scan(row_prefix=b"s", batch_size=10)
next(scan)
scan.close()

show("counter", table.counter_get(b"count", b"a:n"))
show("counter inc", table.counter_inc(b"count", b"a:n"))
show("counter inc by", table.counter_inc(b"count", b"a:n", value=41))
show("counter dec", table.counter_dec(b"count", b"a:n", value=2))
time.sleep(0.05)  # increments of one millisecond have times after it, and a put of that millisecond would lie below them
table.counter_set(b"count", b"a:n", 7)
show("counter set", table.counter_get(b"count", b"a:n"))
show("counter's bytes", table.row(b"count", columns=[b"a:n"]))

# Calls of the service that happybase has no methods for.
client = connection.client
full = table.name
show("scanner that is unknown", None)
fails("  get", lambda: client.scannerGetList(123456, 1), IllegalArgument)
fails("  close", lambda: client.scannerClose(123456), IllegalArgument)
show("get", [cell.value for cell in client.get(full, b"s001", b"a:n", {})])
show("getRow", [sorted(row.columns) for row in client.getRow(full, b"s001", {})])
show("getRows", [row.row for row in client.getRows(full, [b"s001", b"s002"], {})])
show("getRowTs", client.getRowTs(full, b"s001", 5, {}))
show("getRowsTs", client.getRowsTs(full, [b"s001"], 5, {}))
show("names with state", sorted(key for key in connection.client.getTableNames() if key.startswith(prefix.encode())))
for what, opened in [
    ("scannerOpen", client.scannerOpen(full, b"s097", [b"a:n"], {})),
    ("scannerOpenWithStop", client.scannerOpenWithStop(full, b"s001", b"s003", [b"a:n"], {})),
    ("scannerOpenWithPrefix", client.scannerOpenWithPrefix(full, b"s09", [b"a:n"], {})),
    ("scannerOpenTs", client.scannerOpenTs(full, b"", [b"a:n"], 5001, {})),
    ("scannerOpenWithStopTs", client.scannerOpenWithStopTs(full, b"z", b"z002", [b"a:n"], 5001, {})),
]:
    first = [row.row for row in client.scannerGet(opened)]
    show(what, (first, [row.row for row in client.scannerGetList(opened, 100)], client.scannerGetList(opened, 100)))
    client.scannerClose(opened)
client.deleteAllRow(full, b"s001", {})
client.deleteAll(full, b"s002", b"a:n", {})
client.deleteAllTs(full, b"z000", b"a", 4999, {})
client.deleteAllRowTs(full, b"z001", 5000, {})
show("after deletes", [table.row(row) for row in (b"s001", b"s002", b"z000", b"z001")])
show("atomicIncrement", client.atomicIncrement(full, b"count", b"a:m", 5))

failures = []
pool = ConnectionPool(size=3, table_prefix=prefix, **wire)


def work(number):
    try:
        for turn in range(20):
            with pool.connection() as one:
                one.table("t").counter_inc(b"pool", b"a:n")
                one.table("t").put(b"pool%d" % number, {b"a:%d" % turn: b"x"})
    except Exception as error:  # told below
        failures.append(repr(error))


threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
show("pool", (failures, table.counter_get(b"pool", b"a:n"), len(table.row(b"pool5"))))
connection.disable_table("t")
connection.delete_table("t")
show("tables in the end", connection.tables())
connection.close()
