"""What Hue's HBase browser asks of a Thrift 1 server, in its own shapes: what each call answers, line by line.

    hue_api.py PORT TRANSPORT PROTOCOL

The methods of `Hue` send what those of its `HbaseApi` send: its own defaults of a family, attributes that are absent, columns with and without a
colon at their end, filters put together with its limits, scanners that it never closes. Prints nothing that changes from run to run.
"""
import csv
import sys
import time

from happybase import Connection
from Hbase_thrift import AlreadyExists, BatchMutation, ColumnDescriptor, IllegalArgument, Mutation, TIncrement, TAppend, TScan
from Hbase_thrift import IOError as HbaseError
from thriftpy2.thrift import TApplicationException

port, transport, protocol = int(sys.argv[1]), sys.argv[2], sys.argv[3]
connection = Connection("127.0.0.1", port, transport=transport, protocol=protocol, timeout=120_000)
client = connection.client
LIMIT = 500  # of Hue's `truncate_limit`


class Hue:
    """The actions of the browser; those that are not here go to the client as they are."""

    def __getattr__(self, name):
        return getattr(client, name)

    def createTable(self, table, columns):
        defaults = dict(maxVersions=3, compression="NONE", inMemory=False, bloomFilterType="NONE", bloomFilterVectorSize=0)
        defaults |= dict(bloomFilterNbHashes=0, blockCacheEnabled=False, timeToLive=-1)
        client.createTable(table, [ColumnDescriptor(**(defaults | properties)) for properties in columns])

    def getTableList(self):
        return sorted((name, client.isTableEnabled(name)) for name in client.getTableNames())

    def getRows(self, table, columns, start, limit, prefix=False):
        opens = client.scannerOpenWithPrefix if prefix else client.scannerOpen
        scanner = opens(table, start, columns, None)
        rows = client.scannerGetList(scanner, limit)
        client.scannerClose(scanner)
        return rows

    def getRowsFull(self, table, start, limit):
        return self.getRows(table, sorted(client.getColumnDescriptors(table)), start, limit)

    def scan(self, table, start, columns, text, limit):
        scan = TScan(startRow=start, stopRow=None, timestamp=None, columns=columns, caching=None, filterString=text, batchSize=None)
        return client.scannerGetList(client.scannerOpenWithScan(table, scan, None), limit)

    def getAutocompleteRows(self, table, limit, query):
        return self.scan(table, query, [], "PrefixFilter('" + query + "') AND ColumnPaginationFilter(1,0)", limit)

    def getRowPartial(self, table, row, offset, number):
        return self.scan(table, row, [], f"ColumnPaginationFilter({number}, {offset})", 1)

    def getRowQuerySet(self, table, columns, *queries):
        rows = []
        for query in sorted(queries, key=lambda query: query["scan_length"]):
            text = f"(ColumnPaginationFilter({LIMIT},0) AND PageFilter({LIMIT}))"
            if query.get("filter"):
                text += " AND (" + query["filter"].strip() + ")"
            asked = [column.strip(":") for column in query.get("columns", [])] or [column.strip(":") for column in columns]
            row = "" if query["row_key"] == "null" else query["row_key"]
            rows += self.scan(table, row, asked, text, query["scan_length"])
        return rows

    def putRow(self, table, row, data):
        cells = [(column.encode(), value if value is None else value.encode()) for column, value in data.items()]
        client.mutateRow(table, row, [Mutation(column=column, value=value) for column, value in cells], None)

    def deleteColumns(self, table, row, columns):
        client.mutateRow(table, row, [Mutation(isDelete=True, column=column) for column in columns], None)

    def bulkUpload(self, table, text):
        lines = csv.reader(text.splitlines(), delimiter=csv.Sniffer().sniff(text).delimiter)
        columns = next(lines)
        batches = []
        for row, *values in lines:
            cells = [Mutation(column=column, value=value) for column, value in zip(columns[1:], values) if value]
            batches.append(BatchMutation(row=row, mutations=cells))
        client.mutateRows(table, batches, None)


hue = Hue()


def plain(answer, stamps=False):
    """Rows as pairs of key and sorted cells, cells as their values."""
    if isinstance(answer, list):
        return [plain(one, stamps) for one in answer]
    if hasattr(answer, "columns"):
        return answer.row, [(name, plain(cell, stamps)) for name, cell in sorted((answer.columns or {}).items())]
    if hasattr(answer, "timestamp"):
        return (answer.value, answer.timestamp) if stamps else answer.value
    return answer


def show(what, value, stamps=False):
    print(f"{what}: {plain(value, stamps)!r}", flush=True)


def tries(what, call):
    try:
        value = call()
    except TApplicationException:
        print(f"{what}: no declared error", flush=True)
    except (AlreadyExists, IllegalArgument, HbaseError) as error:
        print(f"{what}: {type(error).__name__}", flush=True)
    else:
        show(what, value)


def q(row, length=1, **more):
    return dict(row_key=row, scan_length=length, **more)


for name in client.getTableNames():
    if client.isTableEnabled(name):
        client.disableTable(name)
    client.deleteTable(name)

show("no tables", hue.getTableList())
hue.createTable("t", [{"name": "a"}, {"name": "b:", "maxVersions": 5, "timeToLive": 100_000_000}, {"name": "c", "bloomFilterType": "ROWCOL"}])
hue.createTable("u", [{"name": "a", "compression": "gz", "inMemory": True, "blockCacheEnabled": True, "maxVersions": 1, "timeToLive": 0}])
show("tables", hue.getTableList())
for table in "t", "u":
    for name, family in sorted(client.getColumnDescriptors(table).items()):
        show(f"family {table} {name}", family)
tries("families of a missing table", lambda: client.getColumnDescriptors("missing"))
tries("create again", lambda: hue.createTable("t", [{"name": "a"}]))
tries("create without families", lambda: hue.createTable("v", []))
tries("create with an empty family", lambda: hue.createTable("v", [{"name": ""}]))
tries("create with an unknown compression", lambda: hue.createTable("v", [{"name": "a", "compression": "zip"}]))
tries("create with an unknown Bloom filter", lambda: hue.createTable("v", [{"name": "a", "bloomFilterType": "SOME"}]))
tries("create with a Bloom filter in small letters", lambda: hue.createTable("v", [{"name": "a", "bloomFilterType": "row"}]))
tries("create without versions", lambda: hue.createTable("v", [{"name": "a", "maxVersions": 0}]))
tries("create with less than no versions", lambda: hue.createTable("v", [{"name": "a", "maxVersions": -1}]))
tries("create with a bad family", lambda: hue.createTable("v", [{"name": "a/b"}]))
tries("create with a family that has a qualifier", lambda: hue.createTable("w", [{"name": "a:b"}]))
tries("create with a family twice", lambda: hue.createTable("x", [{"name": "a"}, {"name": "a:", "maxVersions": 7}]))
tries("create in a missing namespace", lambda: hue.createTable("nowhere:v", [{"name": "a"}]))
tries("create without a name", lambda: hue.createTable("", [{"name": "a"}]))
for table in [name for name, _ in hue.getTableList() if name not in (b"t", b"u")]:
    show(f"also there: {table}", [(name, family.maxVersions) for name, family in sorted(client.getColumnDescriptors(table).items())])
    client.disableTable(table)
    client.deleteTable(table)
tries("enabled, missing table", lambda: client.isTableEnabled("missing"))
tries("enable an enabled table", lambda: client.enableTable("t"))
tries("enable a missing table", lambda: client.enableTable("missing"))
tries("disable a missing table", lambda: client.disableTable("missing"))
tries("drop an enabled table", lambda: client.deleteTable("u"))
tries("disable", lambda: client.disableTable("u"))
tries("disable again", lambda: client.disableTable("u"))
show("tables", hue.getTableList())
tries("read of a disabled table", lambda: hue.getRowQuerySet("u", [], q("null", 10)))
tries("write into a disabled table", lambda: hue.putRow("u", "r", {"a:x": "1"}))
tries("families of a disabled table", lambda: sorted(client.getColumnDescriptors("u")))
tries("enable", lambda: client.enableTable("u"))

# The grid: ten rows from the beginning, rows by their keys, families that are switched on.
show("empty table", hue.getRowQuerySet("t", [], q("null", 10)))
hue.putRow("t", "r1", {"a:x": "1", "a:y": "2", "b:m": "3", "c:": "nameless"})
hue.putRow("t", "r2", {"a:x": "ä€", "b:n": "", "b:m": None})
hue.putRow("t", "r3", {f"a:{n:02}": f"v{n}" for n in range(30)})
hue.putRow("t", "s,1", {"c:a:b": "colons"})
tries("put into a missing family", lambda: hue.putRow("t", "r1", {"z:x": "1"}))
tries("put into a family", lambda: hue.putRow("t", "r9", {"a": "1"}))
tries("put into a family and a column", lambda: hue.putRow("t", "r9", {"a": "1", "a:x": "2"}))
tries("put without a qualifier", lambda: hue.putRow("t", "r9", {"a:": "3"}))
tries("put without a column", lambda: hue.putRow("t", "r9", {"": "1"}))
tries("put without a family", lambda: hue.putRow("t", "r9", {":x": "1"}))
tries("put without a row", lambda: hue.putRow("t", "", {"a:x": "1"}))
tries("put of nothing", lambda: hue.putRow("t", "r9", {}))
tries("put into a missing table", lambda: hue.putRow("missing", "r9", {"a:x": "1"}))
show("row with odd columns", client.getRow("t", "r9", None))
client.deleteAllRow("t", "r9", {})
show("grid", hue.getRowQuerySet("t", [], q("null", 10)))
show("grid of two rows", hue.getRowQuerySet("t", [], q("null", 2)))
show("grid of no rows", hue.getRowQuerySet("t", [], q("null", 0)))
show("grid of a family", hue.getRowQuerySet("t", ["b:"], q("null", 10)))
show("grid of two families", hue.getRowQuerySet("t", ["b:", "c:"], q("null", 10)))
show("a row and two more", hue.getRowQuerySet("t", ["a:"], q("r2", 3), q("s,1"), q("r1")))
show("columns", hue.getRowQuerySet("t", ["c:"], q("r1", 2, columns=["a:x", "b:m", "a:none"])))
show("a column with its family", hue.getRowQuerySet("t", [], q("r1", 2, columns=["a:x", "a:"])))
show("a column without a name", hue.getRowQuerySet("t", [], q("r1", 2, columns=["c:"])))
tries("a missing family", lambda: hue.getRowQuerySet("t", [], q("r1", 2, columns=["z:x"])))
tries("a missing table", lambda: hue.getRowQuerySet("missing", [], q("null", 10)))

# A row by pieces, as one scrolls to the right; rows while one types.
show("row from 0", hue.getRowPartial("t", "r3", 0, 3))
show("row from 28", hue.getRowPartial("t", "r3", 28, 100))
show("row from behind its end", hue.getRowPartial("t", "r3", 30, 100))
show("suggested rows", hue.getAutocompleteRows("t", 10, "r"))
show("suggested rows, two", hue.getAutocompleteRows("t", 2, "r"))
show("suggested rows, comma", hue.getAutocompleteRows("t", 10, "s,"))
show("suggested rows, none", hue.getAutocompleteRows("t", 10, "zz"))
tries("suggested rows, a quote", lambda: hue.getAutocompleteRows("t", 10, "r'"))
tries("suggested rows, two quotes", lambda: hue.getAutocompleteRows("t", 10, "r''"))
show("getRows", hue.getRows("t", ["a:x", "b"], "r1", 2))
show("getRows by prefix", hue.getRows("t", ["a:x", "b"], "r", 10, prefix=True))
show("getRows of no columns", hue.getRows("t", [], "r1", 1))
show("getRows of columns that are absent", hue.getRows("t", None, "r1", 1))
show("getRowsFull", hue.getRowsFull("t", "", 10))

# The filters that the search field offers, as it writes them, with its limits before them.
client.mutateRowTs("t", "ts", [Mutation(column="a:p", value="1"), Mutation(column="a:q", value="5"), Mutation(column="b:p", value="x")], 1000, None)
client.mutateRowTs("t", "ts", [Mutation(column="a:p", value="2")], 2000, None)
for text in [
    "KeyOnlyFilter ()",
    "FirstKeyOnlyFilter ()",
    "PrefixFilter ('r')",
    "ColumnPrefixFilter('x')",
    "ColumnPrefixFilter('0')",
    "MultipleColumnPrefixFilter('x', 'm', '2')",
    "ColumnCountGetFilter (2)",
    "PageFilter (2)",
    "ColumnPaginationFilter(2, 1)",
    "ColumnPaginationFilter (0, 0)",
    "InclusiveStopFilter('r2')",
    "TimestampsFilter (1000, 1500 ,2000)",
    "TimeStampsFilter (1000)",
    "RowFilter (=, 'binary:r1')",
    "RowFilter (>=, 'binaryprefix:s')",
    "FamilyFilter(!=, 'binary:a')",
    "QualifierFilter (>,'binary:m')",
    "QualifierFilter (=,'substring:2')",
    "ValueFilter (=,'substring:V1')",
    "ValueFilter (=, 'regexstring:^v2[0-3]$')",
    "ValueFilter (<, 'binary:3')",
    "ValueFilter (=, 'nosuch:3')",
    "ValueFilter (3, 'binary:3')",
    "DependentColumnFilter ('a', 'x', true, =, 'binary:1')",
    "DependentColumnFilter ('a', 'p', false, =, 'binary:2')",
    "DependentColumnFilter ('a', 'x', true)",
    "DependentColumnFilter ('a', 'p')",
    "SingleColumnValueFilter('a', 'x', =, 'binary:1', true, true)",
    "SingleColumnValueFilter('a', 'x', =, 'binary:1')",
    "SingleColumnValueExcludeFilter('a', 'p', =, 'binary:2', true, true)",
    "SingleColumnValueExcludeFilter('a', 'x', =, 'binary:1')",
    "ColumnRangeFilter ('m', true, 'p', false)",
    "ColumnRangeFilter ('x', false, 'y', true)",
    "ColumnPaginationFilter(2, 0) AND ColumnPrefixFilter('0')",
    "ColumnPrefixFilter('0') OR ColumnPrefixFilter('1')",
    "SKIP ValueFilter(!=, 'binary:2')",
    "WHILE RowFilter(<, 'binary:r2')",
    "PrefixFilter('r') AND (QualifierFilter(=, 'binary:x') OR QualifierFilter(=, 'binary:y'))",
    "PrefixFilter('r') and PageFilter(1)",
    "ColumnPaginationFilter(limit, offset)",
    "PrefixFilter(r)",
    "PrefixFilter('r'",
    "NoSuchFilter ('r')",
    "PageFilter ('2')",
    "PageFilter (-1)",
    "ColumnCountGetFilter (-1)",
    "ColumnRangeFilter ('m', yes, 'p', no)",
    "ValueFilter (=, 'regexstring:[')",
]:
    tries(f"filter {text}", lambda: hue.getRowQuerySet("t", [], q("null", 10, filter=text)))
tries("filter beside columns", lambda: hue.getRowQuerySet("t", [], q("r1", 2, columns=["a:x"], filter="ColumnPrefixFilter('x')")))
tries("filter that wants another column", lambda: hue.getRowQuerySet("t", [], q("r1", 2, columns=["b:m"], filter="SingleColumnValueFilter('a','x',=,'binary:1',true,true)")))

# A cell and its history.
show("get", client.get("t", "r1", "a:x", None))
show("get of a row that is not there", client.get("t", "none", "a:x", None))
show("get of a family", client.get("t", "ts", "a", None), stamps=True)
show("get of a column without a name", client.get("t", "r1", "c:", None))
tries("get of a missing family", lambda: client.get("t", "r1", "z:x", None))
tries("get without a column", lambda: client.get("t", "r1", "", None))
tries("get without a row", lambda: client.get("t", "", "a:x", None))
for stamp in 3000, 2001, 2000, 1001, 1000, 0:
    show(f"history before {stamp}", client.getVerTs("t", "ts", "a:p", stamp, 10, None), stamps=True)
show("history, one", client.getVerTs("t", "ts", "a:p", 3000, 1, None), stamps=True)
show("history of a family", client.getVerTs("t", "ts", "a", 3000, 10, None), stamps=True)
show("history of a family with a colon", client.getVerTs("t", "ts", "a:", 3000, 10, None), stamps=True)
tries("history, no versions", lambda: client.getVerTs("t", "ts", "a:p", 3000, 0, None))
tries("history before less than nothing", lambda: client.getVerTs("t", "ts", "a:p", -5, 10, None))
show("getVer", client.getVer("t", "ts", "a:p", 5, {}), stamps=True)
hue.putRow("t", "r1", {"a:x": "edited"})
show("edited", client.get("t", "r1", "a:x", None))

# Rows and columns as the client's own calls have them.
show("getRow", client.getRow("t", "ts", {}), stamps=True)
show("getRowWithColumns", client.getRowWithColumns("t", "r1", ["a:x", "b:"], None))
show("getRowWithColumns, families", client.getRowWithColumns("t", "r1", ["a", "b"], {}))
show("getRowWithColumns, no columns", client.getRowWithColumns("t", "r1", [], None))
show("getRowWithColumns, columns that are absent", client.getRowWithColumns("t", "r1", None, None))
show("getRowTs", client.getRowTs("t", "ts", 2000, None), stamps=True)
show("getRowWithColumnsTs", client.getRowWithColumnsTs("t", "ts", ["a:p", "b"], 1001, None), stamps=True)
show("getRows", client.getRows("t", ["r1", "none", "s,1"], None))
show("getRows, the same twice", client.getRows("t", ["s,1", "s,1"], {}))
show("getRows, no rows", client.getRows("t", [], None))
tries("getRows, rows that are absent", lambda: client.getRows("t", None, None))
show("getRowsWithColumns", client.getRowsWithColumns("t", ["r1", "r2"], ["a:x", "b"], None))
show("getRowsTs", client.getRowsTs("t", ["ts", "r1"], 1001, None), stamps=True)
show("getRowsWithColumnsTs", client.getRowsWithColumnsTs("t", ["ts"], ["a"], 2001, None), stamps=True)
tries("getRow of an empty key", lambda: client.getRow("t", "", None))
show("regions", [(region.startKey, region.endKey, region.version) for region in client.getTableRegions("t")])
show("regions of a missing table", client.getTableRegions("missing"))
show("region of a row", [getattr(client.getRegionInfo("t,r1,"), field) for field in ("startKey", "endKey", "version")])

# What deletes.
hue.deleteColumns("t", "r1", ["a:y", "b:m"])
show("columns deleted", client.getRow("t", "r1", None))
hue.deleteColumns("t", "r1", ["c"])
show("family deleted", client.getRow("t", "r1", None))
time.sleep(0.05)  # a delete hides what is put in its millisecond
hue.putRow("t", "r1", {"c:": "again", "c:x": "stays"})
hue.deleteColumns("t", "r1", ["c:"])
show("column without a name deleted", client.getRow("t", "r1", None))
tries("delete of no columns", lambda: hue.deleteColumns("t", "r1", []))
tries("delete in a missing family", lambda: hue.deleteColumns("t", "r1", ["z:x"]))
tries("delete without a row", lambda: hue.deleteColumns("t", "", ["a:x"]))
client.deleteAllTs("t", "ts", "a:p", 1000, None)
show("deleteAllTs", client.getVer("t", "ts", "a:p", 5, None), stamps=True)
client.deleteAllTs("t", "ts", "a", 1500, {})
show("deleteAllTs of a family", client.getRow("t", "ts", None), stamps=True)
client.deleteAll("t", "ts", "a:p", None)
show("deleteAll", client.getRow("t", "ts", None), stamps=True)
for stamp in 1000, 2000:
    client.mutateRowTs("t", "tt", [Mutation(column="a:p", value=str(stamp)), Mutation(column="b:p", value="x")], stamp, {})
client.deleteAllRowTs("t", "tt", 999, None)
show("deleteAllRowTs before all", client.getVer("t", "tt", "a:p", 5, None), stamps=True)
client.deleteAllRowTs("t", "tt", 1000, None)
show("deleteAllRowTs", client.getVer("t", "tt", "a:p", 5, None), stamps=True)
client.deleteAllRowTs("t", "tt", 2000, None)
show("deleteAllRowTs of the rest", client.getRow("t", "tt", None))
client.deleteAllRow("t", "r3", {})
client.deleteAllRow("t", "none", None)
show("deleteAllRow", [row.row for row in hue.getRowQuerySet("t", [], q("null", 10))])
tries("deleteAllRow of an empty key", lambda: client.deleteAllRow("t", "", {}))
tries("deleteAll of a missing family", lambda: client.deleteAll("t", "r1", "z:x", None))
tries("deleteAllRow in a missing table", lambda: client.deleteAllRow("missing", "r", None))

# Uploads and what else the client reaches.
hue.bulkUpload("u", "row,a:x,a:y\nk1,1,2\nk2,,4\nk3,5,\n")
show("upload", hue.getRowQuerySet("u", [], q("null", 10)))
hue.bulkUpload("u", "row\ta:x\ta:y\nk5\t1\t2\nk6\t3\t4\n")
show("upload with tabs", [row.row for row in hue.getRowQuerySet("u", [], q("null", 10))])
tries("upload of a row without cells", lambda: hue.bulkUpload("u", "row,a:x,a:y\nk4,,\nk7,1,2\n"))
tries("upload without a key", lambda: hue.bulkUpload("u", "row,a:x,a:y\n,1,2\nk8,1,2\n"))
tries("upload into a missing family", lambda: hue.bulkUpload("u", "row,a:x,z:y\nk9,1,2\n"))
tries("upload of nothing", lambda: client.mutateRows("u", [], None))
show("after the uploads", [row.row for row in hue.getRowQuerySet("u", [], q("null", 10))])
tries("mutations of both kinds", lambda: client.mutateRow("u", "k1", [Mutation(column="a:z", value="9"), Mutation(isDelete=True, column="a:x")], None))
show("mutated", client.getRow("u", "k1", None))
tries("atomicIncrement", lambda: client.atomicIncrement("u", "n", "a:n", 5))
tries("increment", lambda: client.increment(TIncrement(table="u", row="n", column="a:n", ammount=2)))
tries("incrementRows", lambda: client.incrementRows([TIncrement(table="u", row="n", column="a:n", ammount=3)] * 2))
tries("incremented", lambda: client.get("u", "n", "a:n", None))
tries("increment of text", lambda: client.atomicIncrement("u", "k1", "a:z", 1))
tries("append", lambda: client.append(TAppend(table="u", row="k1", columns=["a:z"], values=["8"])))
tries("checkAndPut", lambda: client.checkAndPut("u", "k1", "a:z", "98", Mutation(column="a:z", value="7"), None))
tries("checkAndPut of another value", lambda: client.checkAndPut("u", "k1", "a:z", "98", Mutation(column="a:z", value="6"), None))
tries("checkAndPut of nothing", lambda: client.checkAndPut("u", "k1", "a:none", None, Mutation(column="a:w", value="6"), None))
show("in the end", client.getRow("u", "k1", None))
for table in "t", "u":
    client.disableTable(table)
    tries(f"drop {table}", lambda: client.deleteTable(table))
show("no tables left", hue.getTableList())
