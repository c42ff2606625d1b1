import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.zip.GZIPOutputStream;
import org.apache.hadoop.conf.Configurable;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.*;
import org.apache.hadoop.hbase.client.Result;
import org.apache.hadoop.hbase.io.ImmutableBytesWritable;
import org.apache.hadoop.hbase.mapreduce.ResultSerialization;
import org.apache.hadoop.hbase.util.Bytes;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.compress.*;

/**
 * Writes SequenceFiles as HBase's Export does, with Hadoop's writer and HBase's ResultSerialization, in all kinds of compression; and their cells
 * as lines "ROW COLUMN TIMESTAMP TYPE VALUE TAGS" in hexadecimal.
 *
 * GzipCodec, ZStandardCodec and Lz4Codec need native libraries in Hadoop: their streams are those of the JDK and of aircompressor, which are the
 * same format, and the name of the stand-in is replaced in the header.
 */
public class Exports {
  /** As GzipCodec with the native library: a gzip member a stream. */
  public static class Gzip implements CompressionCodec {
    static class Out extends CompressionOutputStream {
      GZIPOutputStream gzip;
      Out(OutputStream out) throws IOException { super(out); resetState(); }
      public void write(int b) throws IOException { gzip.write(b); }
      public void write(byte[] b, int from, int n) throws IOException { gzip.write(b, from, n); }
      public void finish() throws IOException { gzip.finish(); }
      public void resetState() throws IOException {
        gzip = new GZIPOutputStream(new FilterOutputStream(out) {
          public void write(byte[] b, int from, int n) throws IOException { out.write(b, from, n); }
        }, 512, false);
      }
    }
    public CompressionOutputStream createOutputStream(OutputStream out) throws IOException { return new LateOut(out); }
    public CompressionOutputStream createOutputStream(OutputStream out, Compressor c) throws IOException { return new LateOut(out); }
    /** The header of a member is written with its first byte, not before. */
    static class LateOut extends CompressionOutputStream {
      Out now;
      LateOut(OutputStream out) throws IOException { super(out); }
      Out now() throws IOException { if (now == null) now = new Out(out); return now; }
      public void write(int b) throws IOException { now().write(b); }
      public void write(byte[] b, int from, int n) throws IOException { now().write(b, from, n); }
      public void finish() throws IOException { now().finish(); now = null; }
      public void resetState() { now = null; }
    }
    public Class<? extends Compressor> getCompressorType() { return null; }
    public Compressor createCompressor() { return null; }
    public CompressionInputStream createInputStream(InputStream in) { throw new UnsupportedOperationException(); }
    public CompressionInputStream createInputStream(InputStream in, Decompressor d) { throw new UnsupportedOperationException(); }
    public Class<? extends Decompressor> getDecompressorType() { return null; }
    public Decompressor createDecompressor() { return null; }
    public String getDefaultExtension() { return ".gz"; }
  }

  static String hex(byte[] bytes) { return bytes.length == 0 ? "-" : Bytes.toHex(bytes); }

  static List<Result> results(PrintWriter lines) {
    List<Result> results = new ArrayList<>();
    for (int at = 0; at < 24; at++) {
      byte[] row = at == 5 ? new byte[] {0, (byte) 0xff, 'x'} : Bytes.toBytes(String.format("row%03d", at));
      if (at == 5) row = Bytes.add(Bytes.toBytes("row005"), row);
      List<Cell> cells = new ArrayList<>();
      for (int n = 0; n <= at % 3; n++) {
        byte[] value = at == 7 ? new byte[0] : Bytes.toBytes("value " + at + " " + "x".repeat(at * 7 % 90));
        if (at == 11) value = new byte[] {(byte) 0x80, 0, 10};
        List<Tag> tags = at % 4 == 1 ? List.of(new ArrayBackedTag(TagType.TTL_TAG_TYPE, Bytes.toBytes(3600000L + at))) : List.of();
        cells.add(new KeyValue(row, 0, row.length, Bytes.toBytes("f"), 0, 1, Bytes.toBytes("q" + n), 0, 2, 1700000000000L + at, KeyValue.Type.Put,
            value, 0, value.length, tags));
      }
      if (at % 6 == 2) {
        for (KeyValue.Type type : new KeyValue.Type[] {KeyValue.Type.Delete, KeyValue.Type.DeleteColumn})
          cells.add(new KeyValue(row, Bytes.toBytes("g"), Bytes.toBytes("d"), 5L + at, type));
        for (KeyValue.Type type : new KeyValue.Type[] {KeyValue.Type.DeleteFamily, KeyValue.Type.DeleteFamilyVersion})
          cells.add(new KeyValue(row, Bytes.toBytes("g"), new byte[0], 5L + at, type));
      }
      for (Cell cell : cells)
        lines.println(String.join(" ", hex(CellUtil.cloneRow(cell)), hex(CellUtil.cloneFamily(cell)), hex(CellUtil.cloneQualifier(cell)),
            "" + cell.getTimestamp(), "" + (cell.getTypeByte() & 0xff), hex(CellUtil.cloneValue(cell)), hex(PrivateCellUtil.cloneTags(cell))));
      results.add(Result.create(cells));
    }
    return results;
  }

  static byte[] replace(byte[] file, String old, String now) {
    byte[] from = old.getBytes(StandardCharsets.UTF_8), to = now.getBytes(StandardCharsets.UTF_8);
    for (int at = 1; at + from.length < file.length; at++)
      if (file[at - 1] == from.length && Arrays.equals(Arrays.copyOfRange(file, at, at + from.length), from)) {
        byte[] head = Arrays.copyOf(file, at);
        head[at - 1] = (byte) to.length;
        return Bytes.add(head, to, Arrays.copyOfRange(file, at + from.length, file.length));
      }
    throw new IllegalStateException(old + " is not in the header");
  }

  public static void main(String[] args) throws Exception {
    Configuration conf = new Configuration();
    conf.set("fs.defaultFS", "file:///");
    conf.setStrings("io.serializations", conf.get("io.serializations"), ResultSerialization.class.getName());
    conf.setInt("io.seqfile.compress.blocksize", 900);
    List<Result> results;
    try (PrintWriter lines = new PrintWriter("cells.txt")) { results = results(lines); }
    Map<String, Class<?>> codecs = new LinkedHashMap<>();
    codecs.put("DefaultCodec", DefaultCodec.class);
    codecs.put("SnappyCodec", SnappyCodec.class);
    codecs.put("GzipCodec", Gzip.class);
    codecs.put("ZStandardCodec", Class.forName("io.airlift.compress.zstd.ZstdCodec"));
    codecs.put("Lz4Codec", Class.forName("io.airlift.compress.lz4.Lz4Codec"));
    for (SequenceFile.CompressionType type : SequenceFile.CompressionType.values()) {
      for (String name : type == SequenceFile.CompressionType.NONE ? List.of("none") : new ArrayList<>(codecs.keySet())) {
        CompressionCodec codec = name.equals("none") ? null : (CompressionCodec) codecs.get(name).getDeclaredConstructor().newInstance();
        if (codec instanceof Configurable) ((Configurable) codec).setConf(conf);
        String path = type.name().toLowerCase() + (codec == null ? "" : "-" + name) + ".seq";
        SequenceFile.Metadata metadata = new SequenceFile.Metadata();
        if (codec == null) metadata.set(new Text("made"), new Text("for a test"));
        try (SequenceFile.Writer writer = SequenceFile.createWriter(conf, SequenceFile.Writer.file(new org.apache.hadoop.fs.Path(path)),
            SequenceFile.Writer.keyClass(ImmutableBytesWritable.class), SequenceFile.Writer.valueClass(Result.class),
            SequenceFile.Writer.metadata(metadata),
            codec == null ? SequenceFile.Writer.compression(type) : SequenceFile.Writer.compression(type, codec))) {
          for (int at = 0; at < results.size(); at++) {
            if (at % 10 == 9 && type != SequenceFile.CompressionType.BLOCK) writer.sync();
            writer.append(new ImmutableBytesWritable(results.get(at).getRow()), results.get(at));
          }
        }
        if (codec != null && !codec.getClass().getName().startsWith("org.apache.hadoop.io.compress."))
          Files.write(Paths.get(path), replace(Files.readAllBytes(Paths.get(path)), codec.getClass().getName(), "org.apache.hadoop.io.compress." + name));
      }
    }
    for (File crc : new File(".").listFiles((folder, name) -> name.endsWith(".crc"))) crc.delete();
  }
}
