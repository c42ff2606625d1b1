import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hbase.*;
import org.apache.hadoop.hbase.client.*;
import org.apache.hadoop.hbase.regionserver.*;
import org.apache.hadoop.hbase.regionserver.compactions.ExploringCompactionPolicy;
import org.apache.hadoop.hbase.shaded.protobuf.ProtobufUtil;
import org.apache.hadoop.hbase.shaded.protobuf.generated.ClientProtos;
import org.apache.hadoop.hbase.shaded.protobuf.generated.ClientProtos.MutationProto;
import org.apache.hadoop.hbase.util.Bytes;
import org.apache.hadoop.hbase.util.CommonFSUtils;
import org.apache.hadoop.hbase.util.EnvironmentEdgeManager;
import org.apache.hadoop.hbase.wal.WAL;
import org.apache.hadoop.hbase.wal.WALFactory;

/**
 * HBase's own HRegion behind a line protocol on stdin and stdout, to judge Ferrobase's engine.
 *
 * One command per line, words separated by spaces, messages as hexadecimal protobuf of HBase's ClientProtos ("-" for empty). One answer
 * per command: "ok WORD..." or "err CLASS MESSAGE". In answers "|" begins a row; other words are KeyValue bytes (tags included).
 *
 *   create F[:KEY=VALUE]...   new empty region with these families; the old one is thrown away
 *   clock MS                  what "now" is from here on
 *   mutate M                  put, delete, increment or append; answers the new cells of the latter two
 *   row M M...                mutations of one row, atomically
 *   check C M...              condition, then what to do: answers true or false, then the cells
 *   get G                     answers cells, or true or false if existence is all that is asked
 *   scan S [LIMIT [SIZE PART]] answers cells of at most LIMIT rows (0: all); stops each SIZE bytes (0: never), inside rows too if PART is true
 *   flush | major | reopen
 *   minor F FROM TO           compacts files FROM (inclusive) to TO (exclusive) of family F, oldest first, empty ones not counted
 *   files F                   how many files the family has
 */
public class Judge {
  /** Chooses the files that "minor" named. */
  public static class Chosen extends ExploringCompactionPolicy {
    static int from, to;
    public Chosen(Configuration conf, StoreConfigInformation store) { super(conf, store); }
    @Override public List<HStoreFile> applyCompactionPolicy(List<HStoreFile> files, boolean mayUseOffPeak, boolean mightBeStuck, int min, int max) {
      // Counted are files with cells: HBase also keeps empty ones, which go along with their neighbours.
      List<Integer> full = new ArrayList<>();
      for (int i = 0; i < files.size(); i++) if (files.get(i).getReader().getEntries() > 0) full.add(i);
      int first = Math.min(from, full.size()), last = Math.min(to, full.size());
      if (last - first < 2) return new ArrayList<>();
      return new ArrayList<>(files.subList(first == 0 ? 0 : full.get(first), last == full.size() ? files.size() : full.get(last - 1) + 1));
    }
    @Override public boolean needsCompaction(Collection<HStoreFile> files, List<HStoreFile> compacting) { return false; }
    @Override public boolean shouldPerformMajorCompaction(Collection<HStoreFile> files) { return false; }
  }

  final Configuration conf = HBaseConfiguration.create();
  final Path root;
  WALFactory wals;
  int tables;
  HRegion region;
  long now = 1;

  Judge(String dir) throws IOException {
    root = new Path("file://" + new File(dir).getAbsolutePath());
    String[] settings = {"hbase.rootdir", root.toString(), "hbase.wal.dir", root.toString(), "fs.defaultFS", "file:///", "hbase.wal.provider", "filesystem",
      "hbase.unsafe.stream.capability.enforce", "false", "hbase.hregion.memstore.mslab.enabled", "false", "hbase.hregion.compacting.memstore.type", "NONE",
      "hbase.hstore.compaction.min", "2", "hbase.hstore.compaction.max", "1000", "hbase.hregion.majorcompaction", "0", "hbase.store.delete.expired.storefile", "false", "hfile.block.cache.size", "0.1",
      "hbase.hstore.defaultengine.compactionpolicy.class", Chosen.class.getName(), "hbase.hstore.blockingStoreFiles", "1000", "hbase.hregion.memstore.flush.size", "16777216"};
    for (int i = 0; i < settings.length; i += 2) conf.set(settings[i], settings[i + 1]);
    CommonFSUtils.setRootDir(conf, root);
    EnvironmentEdgeManager.injectEdge(() -> now);
    wals = new WALFactory(conf, "judge");
  }

  void create(String[] words) throws IOException {
    if (region != null) { try { region.close(true); } catch (Throwable dead) { /* a region HBase's faults have broken: leave it */ } }
    TableDescriptorBuilder table = TableDescriptorBuilder.newBuilder(TableName.valueOf("t" + ++tables));
    for (int i = 1; i < words.length; i++) {
      String[] parts = words[i].split(":");
      ColumnFamilyDescriptorBuilder family = ColumnFamilyDescriptorBuilder.newBuilder(Bytes.toBytes(parts[0]));
      for (int k = 1; k < parts.length; k++) { int eq = parts[k].indexOf('='); family.setValue(parts[k].substring(0, eq), parts[k].substring(eq + 1)); }
      table.setColumnFamily(family.build());
    }
    TableDescriptor made = table.build();
    RegionInfo info = RegionInfoBuilder.newBuilder(made.getTableName()).setRegionId(1).build();
    region = HRegion.createHRegion(info, root, conf, made, wals.getWAL(info));
  }

  void reopen() throws IOException {
    RegionInfo info = region.getRegionInfo(); TableDescriptor table = region.getTableDescriptor();
    region.close();
    region = HRegion.openHRegion(root, info, table, wals.getWAL(info), conf);
  }

  static byte[] bytes(String word) { return word.equals("-") ? new byte[0] : Bytes.fromHex(word); }

  static Mutation mutation(String word) throws IOException {
    MutationProto proto = MutationProto.parseFrom(bytes(word));
    switch (proto.getMutateType()) {
      case PUT: return ProtobufUtil.toPut(proto);
      case DELETE: return ProtobufUtil.toDelete(proto);
      case INCREMENT: return ProtobufUtil.toIncrement(proto, null);
      case APPEND: return ProtobufUtil.toAppend(proto, null);
      default: throw new IOException("mutation type");
    }
  }

  static void cells(StringBuilder out, Cell[] cells) throws IOException {
    if (cells == null) return;
    for (Cell cell : cells) {
      KeyValue whole = KeyValueUtil.copyToNewKeyValue(cell);
      out.append(' ').append(Bytes.toHex(whole.getBuffer(), whole.getOffset(), whole.getLength()));
    }
  }

  void result(StringBuilder out, Result result) throws IOException { if (result != null) cells(out, result.rawCells()); }

  List<Mutation> mutations(String[] words, int from) throws IOException {
    List<Mutation> all = new ArrayList<>();
    for (int i = from; i < words.length; i++) all.add(mutation(words[i]));
    return all;
  }

  String run(String line) throws IOException {
    StringBuilder out = new StringBuilder("ok");
    String[] words = line.split(" ");
    switch (words[0]) {
      case "create": create(words); break;
      case "clock": now = Long.parseLong(words[1]); break;
      case "mutate": {
        Mutation mutation = mutation(words[1]);
        if (mutation instanceof Put) region.put((Put) mutation);
        else if (mutation instanceof Delete) region.delete((Delete) mutation);
        else if (mutation instanceof Increment) result(out, region.increment((Increment) mutation));
        else result(out, region.append((Append) mutation));
        break;
      }
      case "row": {
        List<Mutation> all = mutations(words, 1);
        RowMutations row = new RowMutations(all.get(0).getRow(), all.size());
        row.add(all);
        result(out, region.mutateRow(row));
        break;
      }
      case "check": {
        CheckAndMutate check = ProtobufUtil.toCheckAndMutate(ClientProtos.Condition.parseFrom(bytes(words[1])), mutations(words, 2));
        CheckAndMutateResult answer = region.checkAndMutate(check);
        out.append(answer.isSuccess() ? " true" : " false");
        result(out, answer.getResult());
        break;
      }
      case "get": {
        Result found = region.get(ProtobufUtil.toGet(ClientProtos.Get.parseFrom(bytes(words[1]))));
        // The server sends no cells then.
        if (found.getExists() != null) out.append(' ').append(found.getExists()); else result(out, found);
        break;
      }
      case "scan": {
        ClientProtos.Scan proto = ClientProtos.Scan.parseFrom(bytes(words[1]));
        Scan scan = ProtobufUtil.toScan(proto);
        int limit = words.length > 2 ? Integer.parseInt(words[2]) : 0;
        if (scan.getLoadColumnFamiliesOnDemandValue() == null) scan.setLoadColumnFamiliesOnDemand(region.isLoadingCfsOnDemandDefault());
        long size = words.length > 3 ? Long.parseLong(words[3]) : 0;
        ScannerContext.LimitScope scope = words.length > 4 && words[4].equals("true") ? ScannerContext.LimitScope.BETWEEN_CELLS : ScannerContext.LimitScope.BETWEEN_ROWS;
        byte[] last = null; int rows = 0;
        try (RegionScanner scanner = region.getScanner(scan)) {
          boolean more = true;
          while (more) {
            List<Cell> cells = new ArrayList<>();
            if (size == 0) more = scanner.next(cells);
            else more = scanner.next(cells, ScannerContext.newBuilder().setSizeLimit(scope, size, Long.MAX_VALUE, Long.MAX_VALUE).setBatchLimit(scan.getBatch()).build());
            if (cells.isEmpty()) continue;
            byte[] row = CellUtil.cloneRow(cells.get(0));
            if (last == null || !Bytes.equals(last, row)) { if (limit > 0 && rows == limit) break; rows++; last = row; }
            out.append(" |");
            cells(out, cells.toArray(new Cell[0]));
          }
        }
        break;
      }
      case "flush": region.flush(true); break;
      case "major":
        for (HStore store : region.getStores()) {
          // Without files the request would wait for the next compaction.
          if (store.getStorefilesCount() == 0) continue;
          store.triggerMajorCompaction();
          compact(store);
        }
        archive();
        break;
      case "minor": {
        Chosen.from = Integer.parseInt(words[2]); Chosen.to = Integer.parseInt(words[3]);
        HStore store = region.getStore(Bytes.toBytes(words[1]));
        compact(store);
        archive();
        break;
      }
      case "files": out.append(' ').append(region.getStore(Bytes.toBytes(words[1])).getStorefilesCount()); break;
      case "reopen": reopen(); break;
      default: throw new IOException("unknown command " + words[0]);
    }
    return out.toString();
  }

  void compact(HStore store) throws IOException {
    Optional<org.apache.hadoop.hbase.regionserver.compactions.CompactionContext> chosen = store.requestCompaction();
    if (chosen.isPresent()) region.compact(chosen.get(), store, org.apache.hadoop.hbase.regionserver.throttle.NoLimitThroughputController.INSTANCE);
  }

  void archive() throws IOException { for (HStore store : region.getStores()) store.closeAndArchiveCompactedFiles(); }

  public static void main(String[] args) throws Exception {
    PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8");
    System.setOut(System.err);
    Judge judge = new Judge(args[0]);
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    answers.print("ready\n"); answers.flush();
    for (String line; (line = commands.readLine()) != null; ) {
      String answer;
      try {
        answer = judge.run(line);
      } catch (Throwable thrown) {
        Throwable cause = thrown instanceof UncheckedIOException ? thrown.getCause() : thrown;
        answer = "err " + cause.getClass().getSimpleName() + " " + String.valueOf(cause.getMessage()).replaceAll("\\s+", " ");
        if (System.getenv("JUDGE_TRACE") != null) cause.printStackTrace();
      }
      answers.print(answer); answers.print('\n'); answers.flush();
    }
    Runtime.getRuntime().halt(0);
  }
}
