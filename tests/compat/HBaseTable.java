import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.*;
import org.apache.hadoop.hbase.client.*;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * A table of HBase's: made, written out, compacted.
 *
 *   create TABLE SPLIT,... FAMILY;KEY=VALUE;...   borders in hexadecimal; a key with a dot is a setting of the family, any other an attribute
 *   cells TABLE FILE        everything that a raw scan shows, then a line "--", then all versions that a scan shows; a cell is a line
 *                           "ROW FAMILY QUALIFIER TIMESTAMP TYPE VALUE TAGS", bytes in hexadecimal, "-" for none
 *   compact TABLE           a major compaction, waited for
 */
public class HBaseTable {
  static String hex(byte[] array, int offset, int length) { return length == 0 ? "-" : Bytes.toHex(array, offset, length); }

  static void create(Admin admin, TableName name, String[] args) throws IOException {
    TableDescriptorBuilder table = TableDescriptorBuilder.newBuilder(name);
    for (String spec : Arrays.copyOfRange(args, 3, args.length)) {
      String[] parts = spec.split(";");
      ColumnFamilyDescriptorBuilder family = ColumnFamilyDescriptorBuilder.newBuilder(Bytes.toBytes(parts[0]));
      for (String part : Arrays.copyOfRange(parts, 1, parts.length)) {
        String[] setting = part.split("=", 2);
        if (setting[0].contains(".")) family.setConfiguration(setting[0], setting[1]);
        else family.setValue(setting[0], setting[1]);
      }
      table.setColumnFamily(family.build());
    }
    byte[][] splits = Arrays.stream(args[2].split(",")).map(Bytes::fromHex).toArray(byte[][]::new);
    admin.createTable(table.build(), splits);
  }

  static void scan(Table table, Scan scan, Writer out) throws IOException {
    try (ResultScanner rows = table.getScanner(scan)) {
      for (Result row : rows) for (Cell cell : row.rawCells()) {
        out.write(hex(cell.getRowArray(), cell.getRowOffset(), cell.getRowLength()) + " "
          + Bytes.toString(cell.getFamilyArray(), cell.getFamilyOffset(), cell.getFamilyLength()) + " "
          + hex(cell.getQualifierArray(), cell.getQualifierOffset(), cell.getQualifierLength()) + " " + cell.getTimestamp() + " "
          + cell.getType().getCode() + " " + hex(cell.getValueArray(), cell.getValueOffset(), cell.getValueLength()) + " "
          + hex(cell.getTagsArray(), cell.getTagsOffset(), cell.getTagsLength()) + "\n");
      }
    }
  }

  public static void main(String[] args) throws Exception {
    Configuration conf = HBaseConfiguration.create();
    // The usual codec leaves tags out.
    conf.set("hbase.client.rpc.codec", "org.apache.hadoop.hbase.codec.KeyValueCodecWithTags");
    TableName name = TableName.valueOf(args[1]);
    try (Connection connection = ConnectionFactory.createConnection(conf); Admin admin = connection.getAdmin()) {
      switch (args[0]) {
        case "create":
          create(admin, name, args);
          break;
        case "cells":
          try (Table table = connection.getTable(name); Writer out = Files.newBufferedWriter(Paths.get(args[2]), StandardCharsets.UTF_8)) {
            scan(table, new Scan().setRaw(true).readAllVersions(), out);
            out.write("--\n");
            scan(table, new Scan().readAllVersions(), out);
          }
          break;
        case "compact":
          admin.majorCompact(name);
          while (admin.getCompactionState(name) != CompactionState.NONE) Thread.sleep(100);
          break;
        default:
          throw new IllegalArgumentException(args[0]);
      }
    }
  }
}
