import java.io.*;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hbase.*;
import org.apache.hadoop.hbase.client.*;
import org.apache.hadoop.hbase.io.compress.Compression;
import org.apache.hadoop.hbase.io.encoding.DataBlockEncoding;
import org.apache.hadoop.hbase.io.hfile.*;
import org.apache.hadoop.hbase.regionserver.*;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * HBase's own store file reader and writer behind a line protocol on stdin and stdout.
 *
 * Cells are "KEYVALUE:MVCC", KeyValue bytes with tags in hexadecimal. One answer per command: "ok WORD..." or "err CLASS MESSAGE".
 *
 *   read PATH                 "LEVELS COLUMN-FILTER CELL..." after checking the file: HFilePrettyPrinter's order check, seeks to and before every cell
 *   blooms PATH TYPE          checks that every row or column and every family delete passes; answers how many of 1000 absent rows pass, of
 *                             at most 1000 absent columns, and of the rows without family deletes
 *   write PATH KEY=VALUE... CELL...   keys: compression encoding bloom tags mvcc block index
 */
public class StoreFiles {
  final Configuration conf = HBaseConfiguration.create();
  final FileSystem fs;

  StoreFiles() throws IOException {
    String codecs = "org.apache.hadoop.hbase.io.compress.aircompressor.";
    // Pure Java: the default codecs need native libraries.
    conf.set("hbase.io.compress.lz4.codec", codecs + "Lz4Codec");
    conf.set("hbase.io.compress.zstd.codec", codecs + "ZstdCodec");
    conf.set("hbase.io.compress.snappy.codec", codecs + "SnappyCodec");
    for (Compression.Algorithm algorithm : new Compression.Algorithm[] {Compression.Algorithm.LZ4, Compression.Algorithm.ZSTD, Compression.Algorithm.SNAPPY}) algorithm.reload(conf);
    conf.set("fs.defaultFS", "file:///");
    conf.set("hbase.unsafe.stream.capability.enforce", "false");
    conf.setFloat("hfile.block.cache.size", 0f);
    fs = FileSystem.get(conf);
  }

  static KeyValue whole(Cell cell) { return KeyValueUtil.copyToNewKeyValue(cell); }

  static boolean same(Cell a, Cell b) {
    KeyValue x = whole(a), y = whole(b);
    return Bytes.equals(x.getBuffer(), x.getOffset(), x.getLength(), y.getBuffer(), y.getOffset(), y.getLength()) && a.getSequenceId() == b.getSequenceId();
  }

  static void check(boolean holds, String what) throws IOException { if (!holds) throw new IOException(what); }

  HStoreFile open(String path, BloomType bloom) throws IOException {
    HStoreFile file = new HStoreFile(fs, new Path(path), conf, new CacheConfig(conf), bloom, true);
    file.initReader();
    return file;
  }

  String read(String path) throws IOException {
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    HFilePrettyPrinter printer = new HFilePrettyPrinter(conf);
    printer.setPrintStreams(new PrintStream(printed), new PrintStream(printed));
    check(printer.run(new String[] {"-m", "-k", "-b", "-h", "-s", "-f", "file://" + path}) == 0, "the printer fails");
    String text = printed.toString("UTF-8");
    check(!text.contains("WARNING"), "the printer warns: " + text.replaceAll("\\s+", " "));
    HStoreFile file = open(path, BloomType.NONE);
    try {
      HFile.Reader reader = file.getReader().getHFileReader();
      StringBuilder out = new StringBuilder("ok ").append(reader.getTrailer().getNumDataIndexLevels()).append(' ');
      out.append(reader.getMetaBlock("FERROBASE_COLUMNS", false) != null);
      List<Cell> cells = new ArrayList<>();
      try (HFileScanner scanner = reader.getScanner(conf, false, true)) {
        for (boolean more = scanner.seekTo(); more; more = scanner.next()) {
          Cell cell = scanner.getCell();
          KeyValue copy = whole(cell);
          copy.setSequenceId(cell.getSequenceId());
          cells.add(copy);
          out.append(' ').append(Bytes.toHex(copy.getBuffer(), copy.getOffset(), copy.getLength())).append(':').append(cell.getSequenceId());
        }
      }
      check(cells.size() == reader.getEntries(), "the number of entries is wrong");
      try (HFileScanner scanner = reader.getScanner(conf, false, true)) {
        for (int i = 0; i < cells.size(); i++) {
          // As HBase seeks: without a sequence number, which the index would compare.
          KeyValue key = whole(cells.get(i)); key.setSequenceId(0);
          int at = scanner.seekTo(key);
          check(at == 0 && same(scanner.getCell(), cells.get(i)), "seek to cell " + i + " answers " + at + ", " + scanner.getCell() + " for " + cells.get(i));
          // Its seeker of ROW_INDEX_V1 finds what is before a row, which is all that HBase asks it; before a later cell of a block's first row it
          // stays at the block's start.
          Cell row = PrivateCellUtil.createFirstOnRow(key);
          int first = i;
          while (first > 0 && CellUtil.matchingRows(cells.get(first - 1), key)) first--;
          check(scanner.seekBefore(row) == (first > 0), "seek before the row of cell " + i);
          if (first > 0) check(same(scanner.getCell(), cells.get(first - 1)), "before the row of cell " + i + " is " + scanner.getCell());
          if (reader.getDataBlockEncoding() == DataBlockEncoding.ROW_INDEX_V1) continue;
          check(scanner.seekBefore(key) == (i > 0), "seek before cell " + i);
          if (i > 0) check(same(scanner.getCell(), cells.get(i - 1)), "before cell " + i + " is " + scanner.getCell() + ", not " + cells.get(i - 1));
        }
      }
      return out.toString();
    } finally { file.closeStoreFile(true); }
  }

  boolean passes(StoreFileReader reader, Scan scan, SortedSet<byte[]> columns) throws Exception {
    if (reader.getBloomFilterType() == BloomType.NONE) return true;
    Method passes = StoreFileReader.class.getDeclaredMethod("passesBloomFilter", Scan.class, SortedSet.class);
    passes.setAccessible(true);
    return (Boolean) passes.invoke(reader, scan, columns);
  }

  String blooms(String path, BloomType type) throws Exception {
    HStoreFile file = open(path, type);
    try {
      StoreFileReader reader = file.getReader();
      check(reader.getBloomFilterType() == type, "the bloom type is " + reader.getBloomFilterType());
      List<Cell> cells = new ArrayList<>();
      try (HFileScanner scanner = reader.getHFileReader().getScanner(conf, false, true)) {
        for (boolean more = scanner.seekTo(); more; more = scanner.next()) cells.add(whole(scanner.getCell()));
      }
      TreeSet<byte[]> rows = new TreeSet<>(Bytes.BYTES_COMPARATOR), deleted = new TreeSet<>(Bytes.BYTES_COMPARATOR), nameless = new TreeSet<>(Bytes.BYTES_COMPARATOR);
      for (Cell cell : cells) {
        byte[] row = CellUtil.cloneRow(cell), qualifier = CellUtil.cloneQualifier(cell);
        rows.add(row);
        if (qualifier.length == 0) nameless.add(row);
        TreeSet<byte[]> columns = new TreeSet<>(Bytes.BYTES_COMPARATOR);
        columns.add(qualifier);
        check(passes(reader, new Scan(new Get(row)), columns), "a column does not pass: " + cell);
        byte kind = cell.getTypeByte();
        if (kind == KeyValue.Type.DeleteFamily.getCode() || kind == KeyValue.Type.DeleteFamilyVersion.getCode()) {
          deleted.add(row);
          check(reader.passesDeleteFamilyBloomFilter(row, 0, row.length), "a family delete does not pass: " + cell);
        }
      }
      int wrongRows = 0, wrongColumns = 0, wrongDeletes = 0;
      List<byte[]> present = new ArrayList<>(rows);
      for (int i = 0; i < 1000; i++) {
        byte[] row = present.get(i % present.size());
        TreeSet<byte[]> columns = new TreeSet<>(Bytes.BYTES_COMPARATOR);
        columns.add(Bytes.toBytes("absent" + i));
        if (passes(reader, new Scan(new Get(Bytes.add(row, Bytes.toBytes("absent" + i)))), columns)) wrongRows++;
        // HBase's ROWCOL look passes every row that has a cell in the column without a name.
        if (!nameless.contains(row) && passes(reader, new Scan(new Get(row)), columns)) wrongColumns++;
      }
      for (byte[] row : rows) if (!deleted.contains(row) && reader.passesDeleteFamilyBloomFilter(row, 0, row.length)) wrongDeletes++;
      return "ok " + wrongRows + " " + wrongColumns + " " + wrongDeletes;
    } finally { file.closeStoreFile(true); }
  }

  String write(String[] words) throws IOException {
    Map<String, String> options = new HashMap<>();
    int at = 2;
    for (; at < words.length && words[at].contains("="); at++) options.put(words[at].substring(0, words[at].indexOf('=')), words[at].substring(words[at].indexOf('=') + 1));
    Configuration its = new Configuration(conf);
    its.set("hfile.index.block.max.size", options.get("index"));
    HFileContext context = new HFileContextBuilder().withCompression(Compression.Algorithm.valueOf(options.get("compression")))
      .withDataBlockEncoding(DataBlockEncoding.valueOf(options.get("encoding"))).withIncludesTags(options.get("tags").equals("true"))
      .withIncludesMvcc(options.get("mvcc").equals("true")).withBlockSize(Integer.parseInt(options.get("block"))).withColumnFamily(Bytes.toBytes("f")).build();
    StoreFileWriter writer = new StoreFileWriter.Builder(its, new CacheConfig(its), fs).withFilePath(new Path(words[1]))
      .withBloomType(BloomType.valueOf(options.get("bloom"))).withFileContext(context).withMaxKeyCount(100000).build();
    for (; at < words.length; at++) {
      int colon = words[at].indexOf(':');
      byte[] bytes = Bytes.fromHex(words[at].substring(0, colon));
      KeyValue cell = new KeyValue(bytes, 0, bytes.length);
      cell.setSequenceId(Long.parseLong(words[at].substring(colon + 1)));
      writer.append(cell);
    }
    writer.appendMetadata(4242, false);
    writer.close();
    return "ok";
  }

  public static void main(String[] args) throws Exception {
    PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8");
    System.setOut(System.err);
    StoreFiles files = new StoreFiles();
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20);
    answers.print("ready\n"); answers.flush();
    for (String line; (line = commands.readLine()) != null; ) {
      String answer;
      try {
        String[] words = line.split(" ");
        switch (words[0]) {
          case "read": answer = files.read(words[1]); break;
          case "blooms": answer = files.blooms(words[1], BloomType.valueOf(words[2])); break;
          case "write": answer = files.write(words); break;
          default: throw new IOException("unknown command " + words[0]);
        }
      } catch (Throwable thrown) {
        answer = "err " + thrown.getClass().getSimpleName() + " " + String.valueOf(thrown.getMessage()).replaceAll("\\s+", " ");
        if (System.getenv("JUDGE_TRACE") != null) thrown.printStackTrace();
      }
      answers.print(answer); answers.print('\n'); answers.flush();
    }
    Runtime.getRuntime().halt(0);
  }
}
