"""Every call of HBase's Thrift 2 service, by thriftpy2 from the service's IDL: what each answers, line by line.

    thrift2_api.py IDL PORT TRANSPORT PROTOCOL

Prints nothing that changes from run to run.
"""
import sys

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

t = thriftpy2.load(sys.argv[1], module_name="thbase_thrift")
port, transport, protocol = int(sys.argv[2]), sys.argv[3], sys.argv[4]
client = make_client(
    t.THBaseService,
    "127.0.0.1",
    port,
    trans_factory={"buffered": TBufferedTransportFactory, "framed": TFramedTransportFactory}[transport](),
    proto_factory={"binary": TBinaryProtocolFactory, "compact": TCompactProtocolFactory}[protocol](),
    timeout=120_000,
)
called = set()


class Calls:
    def __getattr__(self, name):
        called.add(name)
        return getattr(client, name)


c = Calls()


def show(what, value):
    print(f"{what}: {value!r}", flush=True)


def fails(what, call, kind=t.TIOError):
    try:
        value = call()
    except TApplicationException as error:
        print(f"{what}: no declared error", flush=True)
    except kind as error:
        retry = getattr(error, "canRetry", None)
        print(f"{what}: {kind.__name__} {retry} {error.message.splitlines()[0].split(':')[0]}", flush=True)
    else:
        print(f"{what}: no error, {value!r}", flush=True)


def cells(result, stamps=False):
    one = lambda v: (v.family, v.qualifier, v.value) + ((v.timestamp,) if stamps else ())
    return result.row, [one(v) for v in result.columnValues]


def name(text):
    ns, _, qualifier = text.rpartition(":")
    return t.TTableName(ns=ns.encode() or None, qualifier=qualifier.encode())


def family(text, **settings):
    return t.TColumnFamilyDescriptor(name=text.encode(), **settings)


def value(family, qualifier, value, **rest):
    return t.TColumnValue(family=family, qualifier=qualifier, value=value, **rest)


TABLE = b"space:t2"
N = name("space:t2")
if c.tableExists(N):
    if c.isTableEnabled(N):
        c.disableTable(N)
    c.deleteTable(N)
if "space" in c.listNamespaces():
    c.deleteNamespace("space")

show("server type", c.getThriftServerType())
show("cluster id", len(c.getClusterId()) > 0)
c.createNamespace(t.TNamespaceDescriptor(name="space", configuration={"k": "v"}))
fails("namespace again", lambda: c.createNamespace(t.TNamespaceDescriptor(name="space")))
c.modifyNamespace(t.TNamespaceDescriptor(name="space", configuration={"k": "w"}))
show("namespace", c.getNamespaceDescriptor("space").configuration)
show("namespaces", sorted(c.listNamespaces()))
show("namespace descriptors", sorted(one.name for one in c.listNamespaceDescriptors()))

a = family("a", maxVersions=5, compressionType=t.TCompressionAlgorithm.GZ, dataBlockEncoding=t.TDataBlockEncoding.FAST_DIFF)
c.createTable(t.TTableDescriptor(tableName=N, columns=[a, family("b")], durability=t.TDurability.SYNC_WAL), [b"m"])
fails("table again", lambda: c.createTable(t.TTableDescriptor(tableName=N, columns=[a]), None))
show("exists", (c.tableExists(N), c.tableExists(name("space:no"))))
show("available", (c.isTableAvailable(N), c.isTableAvailableWithSplit(N, [b"m"]), c.isTableAvailableWithSplit(N, [b"x"])))
show("enabled", (c.isTableEnabled(N), c.isTableDisabled(N)))
described = c.getTableDescriptor(N)
show("descriptor", (described.tableName.ns, described.tableName.qualifier, described.durability))
for one in described.columns:
    show("family", (one.name, one.maxVersions, one.compressionType, one.dataBlockEncoding, one.bloomnFilterType, one.timeToLive, one.blockSize))
show("descriptors", [one.tableName.qualifier for one in c.getTableDescriptors([N])])
show("by pattern", [one.tableName.qualifier for one in c.getTableDescriptorsByPattern("space:.*", False)])
show("by namespace", [one.tableName.qualifier for one in c.getTableDescriptorsByNamespace("space")])
show("names by pattern", [one.qualifier for one in c.getTableNamesByPattern("space:t.*", False)])
show("system names", [one.qualifier for one in c.getTableNamesByPattern("hbase:meta", True)])
show("names by namespace", [one.qualifier for one in c.getTableNamesByNamespace("space")])
c.addColumnFamily(N, family("c"))
c.modifyColumnFamily(N, family("c", maxVersions=9))
show("families", [(one.name, one.maxVersions) for one in c.getTableDescriptor(N).columns])
fails("drop a family", lambda: c.deleteColumnFamily(N, b"c"))
fails("drop a missing family", lambda: c.deleteColumnFamily(N, b"c"))
changed = c.getTableDescriptor(N)
changed.columns = [one for one in changed.columns if one.name != b"c"]
changed.columns[1].maxVersions = 4
c.modifyTable(changed)
show("modified", [(one.name, one.maxVersions) for one in c.getTableDescriptor(N).columns])
regions = c.getAllRegionLocations(TABLE)
show("regions", [(one.regionInfo.tableName, one.regionInfo.startKey, one.regionInfo.endKey) for one in regions])
show("region of", c.getRegionLocation(TABLE, b"x", True).regionInfo.startKey)

row = lambda key, *values, **rest: t.TPut(row=key, columnValues=list(values), **rest)
c.put(TABLE, row(b"r1", value(b"a", b"x", b"1", timestamp=10), value(b"b", b"", b"n"), timestamp=5))
c.put(TABLE, row(b"r1", value(b"a", b"x", b"2"), timestamp=20, durability=t.TDurability.SKIP_WAL))
c.putMultiple(TABLE, [row(b"s%d" % n, value(b"a", b"n", b"%d" % n), timestamp=7) for n in range(5)])
fails("put into a missing family", lambda: c.put(TABLE, row(b"r1", value(b"z", b"x", b"1"))))
fails("put of nothing", lambda: c.put(TABLE, row(b"r1")))
fails("put with visibility", lambda: c.put(TABLE, row(b"seen", value(b"a", b"x", b"1"), cellVisibility=t.TCellVisibility("x"))))
get = lambda key, **rest: t.TGet(row=key, **rest)
show("exists", (c.exists(TABLE, get(b"r1")), c.exists(TABLE, get(b"none"))))
show("existsAll", c.existsAll(TABLE, [get(b"r1"), get(b"none"), get(b"s1")]))
show("get", cells(c.get(TABLE, get(b"r1")), True))
show("get of nothing", cells(c.get(TABLE, get(b"none"))))
show("types", [(v.type, v.tags) for v in c.get(TABLE, get(b"r1")).columnValues])
show("get versions", cells(c.get(TABLE, get(b"r1", maxVersions=3, columns=[t.TColumn(family=b"a")])), True))
show("get at a time", cells(c.get(TABLE, get(b"r1", timestamp=10)), True))
show("get in a range", cells(c.get(TABLE, get(b"r1", timeRange=t.TTimeRange(5, 11))), True))
show("get with a filter", cells(c.get(TABLE, get(b"r1", filterString=b"QualifierFilter(=,'binary:x')"))))
fails("get with a bad filter", lambda: c.get(TABLE, get(b"r1", filterString=b"Nothing(")))
fails("get no versions", lambda: c.get(TABLE, get(b"r1", maxVersions=0)))
fails("get without a row", lambda: c.get(TABLE, get(b"")))
fails("get from a missing table", lambda: c.get(b"space:no", get(b"r1")))
fails("get existence only", lambda: cells(c.get(TABLE, get(b"r1", existence_only=True)))[1])
show("getMultiple", [cells(one) for one in c.getMultiple(TABLE, [get(b"s1"), get(b"none"), get(b"s3")])])

show("checkAndPut, wrong", c.checkAndPut(TABLE, b"r1", b"a", b"x", b"1", row(b"r1", value(b"a", b"y", b"1"))))
show("checkAndPut, right", c.checkAndPut(TABLE, b"r1", b"a", b"x", b"2", row(b"r1", value(b"a", b"y", b"1"), timestamp=30)))
show("checkAndPut, missing", c.checkAndPut(TABLE, b"r1", b"a", b"none", None, row(b"r1", value(b"a", b"z", b"1"), timestamp=30)))
show("checkAndDelete", c.checkAndDelete(TABLE, b"r1", b"a", b"z", b"1", t.TDelete(row=b"r1", columns=[t.TColumn(b"a", b"z")])))
rows = t.TRowMutations(row=b"r1", mutations=[t.TMutation(put=row(b"r1", value(b"a", b"w", b"1"), timestamp=40))])
show("checkAndMutate, 3 > 2", c.checkAndMutate(TABLE, b"r1", b"a", b"x", t.TCompareOp.GREATER, b"3", rows))
show("checkAndMutate, 1 > 2", c.checkAndMutate(TABLE, b"r1", b"a", b"x", t.TCompareOp.GREATER, b"1", rows))
both = [t.TMutation(deleteSingle=t.TDelete(row=b"r1", columns=[t.TColumn(b"a", b"w")])), rows.mutations[0]]
both[1].put.columnValues[0].qualifier = b"v"
c.mutateRow(TABLE, t.TRowMutations(row=b"r1", mutations=both))
show("after mutateRow", cells(c.get(TABLE, get(b"r1"))))

count = lambda amount, **rest: t.TIncrement(row=b"c", columns=[t.TColumnIncrement(b"a", b"n", amount)], **rest)
show("increment", cells(c.increment(TABLE, count(5))))
show("increment by default", cells(c.increment(TABLE, t.TIncrement(row=b"c", columns=[t.TColumnIncrement(b"a", b"n")]))))
show("increment, unwanted", cells(c.increment(TABLE, count(1, returnResults=False))))
show("append", cells(c.append(TABLE, t.TAppend(row=b"d", columns=[value(b"a", b"s", b"one")]))))
show("append again", cells(c.append(TABLE, t.TAppend(row=b"d", columns=[value(b"a", b"s", b"two")]))))

for key in (b"p1", b"p2", b"p3", b"p4"):
    for stamp in (1, 2, 3):
        c.put(TABLE, row(key, value(b"a", b"x", b"%d" % stamp), value(b"b", b"y", b"%d" % stamp), timestamp=stamp))
kind = t.TDeleteType
c.deleteSingle(TABLE, t.TDelete(row=b"p1", columns=[t.TColumn(b"a", b"x")], deleteType=kind.DELETE_COLUMN))
c.deleteSingle(TABLE, t.TDelete(row=b"p2", columns=[t.TColumn(b"a", b"x", 2)], deleteType=kind.DELETE_COLUMNS))
c.deleteSingle(TABLE, t.TDelete(row=b"p3", columns=[t.TColumn(b"a")], deleteType=kind.DELETE_FAMILY))
c.deleteSingle(TABLE, t.TDelete(row=b"p4", columns=[t.TColumn(b"a", None, 2)], deleteType=kind.DELETE_FAMILY_VERSION))
fails(
    "delete a version without its time",
    lambda: c.deleteSingle(TABLE, t.TDelete(row=b"p4", columns=[t.TColumn(b"a")], deleteType=kind.DELETE_FAMILY_VERSION)),
)
for key in (b"p1", b"p2", b"p3", b"p4"):
    show("after a delete", cells(c.get(TABLE, get(key, maxVersions=5)), True))
show("deleteMultiple", c.deleteMultiple(TABLE, [t.TDelete(row=b"p1"), t.TDelete(row=b"p2", timestamp=1)]))
show("after deleteMultiple", [cells(one, True) for one in c.getMultiple(TABLE, [get(b"p1", maxVersions=5), get(b"p2", maxVersions=5)])])

scan = lambda **rest: t.TScan(**rest)
opened = c.openScanner(TABLE, scan(startRow=b"s", stopRow=b"t", columns=[t.TColumn(b"a", b"n")]))
show("rows", [one.row for one in c.getScannerRows(opened, 2)])
show("rows", [one.row for one in c.getScannerRows(opened, 10)])
show("rows at the end", c.getScannerRows(opened, 10))
c.closeScanner(opened)
c.closeScanner(opened)
fails("rows of a closed scanner", lambda: c.getScannerRows(opened, 1), t.TIllegalArgument)
show("results", [one.row for one in c.getScannerResults(TABLE, scan(startRow=b"s", limit=3), 10)])
show("results backwards", [one.row for one in c.getScannerResults(TABLE, scan(startRow=b"s3", reversed=True), 3)])
show("results filtered", [one.row for one in c.getScannerResults(TABLE, scan(filterString=b"ValueFilter(=,'binary:3')"), 10)])
ranges = {b"a": t.TTimeRange(7, 8)}
show("results by a family's time", [one.row for one in c.getScannerResults(TABLE, scan(startRow=b"s", colFamTimeRangeMap=ranges), 10)])
show("results in batches", [cells(one) for one in c.getScannerResults(TABLE, scan(startRow=b"r1", stopRow=b"r2", batchSize=2), 10)])
fails("scan of a missing family", lambda: c.getScannerResults(TABLE, scan(columns=[t.TColumn(b"zz")]), 1))

show("slow log", c.getSlowLogResponses(set(), t.TLogQueryFilter()))
show("slow log cleared", c.clearSlowLogResponses(set()))
c.disableTable(N)
show("disabled", (c.isTableEnabled(N), c.isTableDisabled(N), c.isTableAvailable(N)))
c.truncateTable(N, True)
show("truncated", (len(c.getAllRegionLocations(TABLE)), c.getScannerResults(TABLE, scan(), 10)))
c.disableTable(N)
c.enableTable(N)
fails("drop an enabled table", lambda: c.deleteTable(N))
c.disableTable(N)
c.deleteTable(N)
c.deleteNamespace("space")
show("calls that were not made", sorted(set(t.THBaseService.thrift_services) - called))
client.close()
