//! The words: commands with their help, constants, and what HBase's shell knows but this one does not.

use super::parser::Names;

/// A command.
#[derive(Debug)]
pub struct Word {
    /// How it is typed.
    pub name: &'static str,
    /// Its group in `help`.
    pub group: &'static str,
    /// Whether its first argument is a table, so that `t.name …` is understood.
    pub takes_table: bool,
    /// What it does.
    pub about: &'static str,
    /// Examples, one a line.
    pub examples: &'static str,
}

const fn word(
    group: &'static str,
    name: &'static str,
    takes_table: bool,
    about: &'static str,
    examples: &'static str,
) -> Word {
    Word { name, group, takes_table, about, examples }
}

/// The groups in the order of `help`.
pub const GROUPS: [&str; 5] = ["general", "ddl", "namespace", "dml", "tools"];

/// All commands.
pub const WORDS: &[Word] = &[
    word("general", "status", false, "Servers, regions and load.", "status\nstatus 'simple'\nstatus 'detailed'"),
    word("general", "version", false, "This program's version and HBase's level that it speaks.", "version"),
    word("general", "table_help", false, "How to work with a table in a variable.", "table_help"),
    word("general", "help", false, "Commands, a group's or one command's help.", "help\nhelp 'scan'\nhelp 'ddl'"),
    word("general", "exit", false, "Ends the shell; `quit` is the same.", "exit\nexit 1"),
    word(
        "ddl",
        "create",
        false,
        "Makes a table: its name, then families (names, or hashes with NAME and settings), then settings of the table.",
        "create 't1', 'f1', 'f2'\n\
         create 't1', {NAME => 'f1', VERSIONS => 5, TTL => '7 DAYS', COMPRESSION => 'ZSTD'}\n\
         create 'ns1:t1', 'f1', SPLITS => ['10', '20', '30', \"\\xFF\"]\n\
         create 't1', 'f1', SPLITS_FILE => 'splits.txt'\n\
         create 't1', 'f1', {NUMREGIONS => 15, SPLITALGO => 'HexStringSplit'}\n\
         create 't1', {NAME => 'f1', CONFIGURATION => {'hbase.hstore.blockingStoreFiles' => '10'}}\n\
         create 't1', 'f1', DURABILITY => 'ASYNC_WAL', METADATA => {'mykey' => 'myvalue'}\n\
         t1 = create 't1', 'f1'",
    ),
    word(
        "ddl",
        "alter",
        true,
        "Changes families and settings: a family by NAME is added or changed; 'delete' removes one.",
        "alter 't1', NAME => 'f1', VERSIONS => 5\n\
         alter 't1', 'f1', {NAME => 'f2', IN_MEMORY => true}\n\
         alter 't1', NAME => 'f1', METHOD => 'delete'\n\
         alter 't1', 'delete' => 'f1'\n\
         alter 't1', MAX_FILESIZE => '134217728'\n\
         alter 't1', METHOD => 'table_att_unset', NAME => 'MAX_FILESIZE'\n\
         alter 't1', METHOD => 'table_conf_unset', NAME => 'hbase.hregion.majorcompaction'",
    ),
    word(
        "ddl",
        "describe",
        true,
        "A table's settings and families; `desc` is the same.",
        "describe 't1'\ndesc 'ns1:t1'",
    ),
    word("ddl", "disable", true, "Takes a table's regions offline.", "disable 't1'"),
    word("ddl", "disable_all", false, "Disables the tables that match; asks first.", "disable_all 't.*'"),
    word("ddl", "is_disabled", true, "Whether a table is disabled.", "is_disabled 't1'"),
    word("ddl", "drop", true, "Removes a disabled table and all that is in it.", "drop 't1'"),
    word("ddl", "drop_all", false, "Removes the disabled tables that match; asks first.", "drop_all 't.*'"),
    word("ddl", "enable", true, "Brings a disabled table back.", "enable 't1'"),
    word("ddl", "enable_all", false, "Enables the tables that match; asks first.", "enable_all 't.*'"),
    word("ddl", "is_enabled", true, "Whether a table is enabled.", "is_enabled 't1'"),
    word("ddl", "exists", true, "Whether a table exists.", "exists 't1'"),
    word("ddl", "list", false, "The tables, or those that match.", "list\nlist 'abc.*'\nlist 'ns:abc.*'"),
    word("ddl", "list_enabled_tables", false, "The enabled tables.", "list_enabled_tables"),
    word("ddl", "list_disabled_tables", false, "The disabled tables.", "list_disabled_tables"),
    word("ddl", "show_filters", false, "The filters that FILTER may name.", "show_filters"),
    word("ddl", "get_table", false, "Puts a table in a variable; see `table_help`.", "t1 = get_table 't1'"),
    word("ddl", "locate_region", true, "The region that holds a row, and its server.", "locate_region 't1', 'row1'"),
    word(
        "ddl",
        "list_regions",
        true,
        "A table's regions, their servers and load; a server's name (its beginning) and columns may be given.",
        "list_regions 't1'\nlist_regions 't1', 'host1'\nlist_regions 't1', {}, ['SERVER_NAME', 'START_KEY']",
    ),
    word(
        "ddl",
        "clone_table_schema",
        true,
        "Makes an empty table like another one.",
        "clone_table_schema 't1', 't2'\nclone_table_schema 't1', 't2', false",
    ),
    word(
        "namespace",
        "create_namespace",
        false,
        "Makes a namespace.",
        "create_namespace 'ns1'\ncreate_namespace 'ns1', {'PROPERTY' => 'value'}",
    ),
    word(
        "namespace",
        "alter_namespace",
        false,
        "Sets or unsets properties of a namespace.",
        "alter_namespace 'ns1', {METHOD => 'set', 'PROPERTY' => 'value'}\nalter_namespace 'ns1', {METHOD => 'unset', NAME => 'PROPERTY'}",
    ),
    word("namespace", "describe_namespace", false, "A namespace's properties.", "describe_namespace 'ns1'"),
    word("namespace", "drop_namespace", false, "Removes an empty namespace.", "drop_namespace 'ns1'"),
    word(
        "namespace",
        "list_namespace",
        false,
        "The namespaces, or those that match.",
        "list_namespace\nlist_namespace 'abc.*'",
    ),
    word("namespace", "list_namespace_tables", false, "The tables of a namespace.", "list_namespace_tables 'ns1'"),
    word(
        "dml",
        "put",
        true,
        "Writes one cell: table, row, column, value, then a timestamp and options if wanted.",
        "put 't1', 'r1', 'f1:q', 'value'\n\
         put 't1', \"row\\x00\\x01\", 'f1:q', 'value', 1700000000000\n\
         put 't1', 'r1', 'f1:q', 'value', 1700000000000, {TTL => 60000, ATTRIBUTES => {'k' => 'v'}}\n\
         t.put 'r1', 'f1:q', 'value'",
    ),
    word(
        "dml",
        "get",
        true,
        "Reads one row: table, row, then columns or a hash of COLUMN(S), TIMESTAMP, TIMERANGE, VERSIONS, FILTER, \
         MAXLENGTH, FORMATTER.",
        "get 't1', 'r1'\n\
         get 't1', 'r1', 'f1:q', 'f2'\n\
         get 't1', 'r1', {COLUMN => ['f1:q', 'f2'], VERSIONS => 4}\n\
         get 't1', 'r1', {TIMERANGE => [0, 1700000000000]}\n\
         get 't1', 'r1', {FILTER => \"ValueFilter(=, 'binary:abc')\"}\n\
         get 't1', 'r1', 'f1:count:toLong'",
    ),
    word(
        "dml",
        "scan",
        true,
        "Reads rows in order. Options: STARTROW, STOPROW, ROWPREFIXFILTER, LIMIT, COLUMNS, FILTER, TIMERANGE, TIMESTAMP, \
         VERSIONS, REVERSED, RAW, BATCH, CACHE, CACHE_BLOCKS, MAX_RESULT_SIZE, MAXLENGTH, FORMATTER, ISOLATION_LEVEL.",
        "scan 't1'\n\
         scan 't1', {COLUMNS => ['f1', 'f2:q'], LIMIT => 10, STARTROW => 'xyz'}\n\
         scan 't1', {ROWPREFIXFILTER => 'row2', FILTER => \"(QualifierFilter (>=, 'binary:xyz')) AND (TimestampsFilter (123, 456))\"}\n\
         scan 't1', FILTER => PrefixFilter('row2')\n\
         scan 't1', {REVERSED => true, LIMIT => 1}\n\
         scan 't1', {RAW => true, VERSIONS => 10}\n\
         scan 't1', {COLUMNS => ['f1:count:toLong', 'f1:n:c(org.apache.hadoop.hbase.util.Bytes).toInt']}",
    ),
    word(
        "dml",
        "count",
        true,
        "Counts rows; INTERVAL says how often it tells where it is. Takes scan's options too.",
        "count 't1'\ncount 't1', INTERVAL => 100000\ncount 't1', CACHE => 1000\ncount 't1', FILTER => \"PrefixFilter('a')\"",
    ),
    word(
        "dml",
        "incr",
        true,
        "Adds to a counter, 1 if no number is given.",
        "incr 't1', 'r1', 'f1:c'\nincr 't1', 'r1', 'f1:c', 10",
    ),
    word("dml", "get_counter", true, "A counter's value.", "get_counter 't1', 'r1', 'f1:c'"),
    word("dml", "append", true, "Adds to the end of a cell's value.", "append 't1', 'r1', 'f1:q', 'more'"),
    word(
        "dml",
        "delete",
        true,
        "Deletes the newest version of a column, or the one at a timestamp.",
        "delete 't1', 'r1', 'f1:q'\ndelete 't1', 'r1', 'f1:q', 1700000000000",
    ),
    word(
        "dml",
        "deleteall",
        true,
        "Deletes a row, a family or all versions of a column, up to a timestamp if one is given; or all rows with a prefix.",
        "deleteall 't1', 'r1'\n\
         deleteall 't1', 'r1', 'f1:q'\n\
         deleteall 't1', 'r1', 'f1:q', 1700000000000\n\
         deleteall 't1', 'r1', '', 1700000000000\n\
         deleteall 't1', {ROWPREFIXFILTER => 'prefix', CACHE => 100}",
    ),
    word("dml", "truncate", true, "Empties a table; afterwards it has one region.", "truncate 't1'"),
    word("dml", "truncate_preserve", true, "Empties a table and keeps its regions.", "truncate_preserve 't1'"),
    word("dml", "get_splits", true, "The rows at which a table's regions begin.", "get_splits 't1'"),
    word("tools", "flush", true, "Writes a table's or a region's memory to files.", "flush 't1'\nflush 'REGIONNAME'"),
    word("tools", "compact", true, "Merges small files of a table or a family.", "compact 't1'\ncompact 't1', 'f1'"),
    word(
        "tools",
        "major_compact",
        true,
        "Merges all files of a table or a family; deleted cells go.",
        "major_compact 't1'\nmajor_compact 't1', 'f1'",
    ),
];

/// Other spellings.
const ALIASES: &[(&str, &str)] = &[("desc", "describe"), ("quit", "exit")];

/// What HBase's shell has and this one has not (yet).
const NOT_BUILT: &[&str] = &[
    "add_labels",
    "add_peer",
    "add_rsgroup",
    "alter_async",
    "alter_rsgroup_config",
    "alter_status",
    "append_peer_namespaces",
    "append_peer_tableCFs",
    "assign",
    "balance_rsgroup",
    "balance_switch",
    "balancer",
    "balancer_enabled",
    "catalogjanitor_enabled",
    "catalogjanitor_run",
    "catalogjanitor_switch",
    "change_sft",
    "change_sft_all",
    "cleaner_chore_enabled",
    "cleaner_chore_run",
    "cleaner_chore_switch",
    "clear_auths",
    "clear_block_cache",
    "clear_compaction_queues",
    "clear_deadservers",
    "clear_slowlog_responses",
    "clone_snapshot",
    "close_region",
    "compact_rs",
    "compaction_state",
    "compaction_switch",
    "decommission_regionservers",
    "delete_all_snapshot",
    "delete_snapshot",
    "delete_table_snapshots",
    "disable_exceed_throttle_quota",
    "disable_peer",
    "disable_rpc_throttle",
    "disable_table_replication",
    "enable_exceed_throttle_quota",
    "enable_peer",
    "enable_rpc_throttle",
    "enable_table_replication",
    "flush_master_store",
    "get_auths",
    "get_balancer_decisions",
    "get_balancer_rejections",
    "get_largelog_responses",
    "get_peer_config",
    "get_rsgroup",
    "get_slowlog_responses",
    "grant",
    "hbck_chore_run",
    "is_in_maintenance_mode",
    "list_deadservers",
    "list_decommissioned_regionservers",
    "list_labels",
    "list_liveservers",
    "list_locks",
    "list_peers",
    "list_procedures",
    "list_quotas",
    "list_quota_snapshots",
    "list_quota_table_sizes",
    "list_replicated_tables",
    "list_rsgroups",
    "list_security_capabilities",
    "list_snapshot_sizes",
    "list_snapshots",
    "list_table_snapshots",
    "list_unknownservers",
    "merge_region",
    "move",
    "normalize",
    "normalizer_enabled",
    "normalizer_switch",
    "processlist",
    "recommission_regionserver",
    "regioninfo",
    "remove_peer",
    "remove_rsgroup",
    "restore_snapshot",
    "revoke",
    "rit",
    "set_auths",
    "set_peer_tableCFs",
    "set_quota",
    "set_visibility",
    "snapshot",
    "snapshot_cleanup_enabled",
    "snapshot_cleanup_switch",
    "split",
    "splitormerge_enabled",
    "splitormerge_switch",
    "stop_master",
    "stop_regionserver",
    "trace",
    "truncate_region",
    "unassign",
    "update_all_config",
    "update_config",
    "user_permission",
    "wal_roll",
    "whoami",
    "zk_dump",
];

/// Words that stand for their own name.
pub const CONSTANTS: &[&str] = &[
    "ALL_METRICS",
    "ALLOW_PARTIAL_RESULTS",
    "ATTRIBUTES",
    "AUTHORIZATIONS",
    "BATCH",
    "BLOCKCACHE",
    "BLOCKSIZE",
    "BLOOMFILTER",
    "CACHE",
    "CACHE_BLOCKS",
    "CACHE_BLOOMS_ON_WRITE",
    "CACHE_DATA_ON_WRITE",
    "CACHE_INDEX_ON_WRITE",
    "COLUMN",
    "COLUMNS",
    "COMPACTION_ENABLED",
    "COMPRESSION",
    "COMPRESSION_COMPACT",
    "COMPRESSION_COMPACT_MAJOR",
    "COMPRESSION_COMPACT_MINOR",
    "COMPRESS_TAGS",
    "CONFIGURATION",
    "CONSISTENCY",
    "DATA_BLOCK_ENCODING",
    "DFS_REPLICATION",
    "DURABILITY",
    "ENCRYPTION",
    "ENCRYPTION_KEY",
    "END_KEY",
    "ERASURE_CODING_POLICY",
    "EVICT_BLOCKS_ON_CLOSE",
    "FILTER",
    "FLUSH_POLICY",
    "FORMATTER",
    "FORMATTER_CLASS",
    "FOREVER",
    "INDEX_BLOCK_ENCODING",
    "INTERVAL",
    "IN_MEMORY",
    "IN_MEMORY_COMPACTION",
    "ISOLATION_LEVEL",
    "IS_MOB",
    "KEEP_DELETED_CELLS",
    "LIMIT",
    "LOCALITY_THRESHOLD",
    "MAXLENGTH",
    "MAX_FILESIZE",
    "MAX_RESULT_SIZE",
    "MEMSTORE_FLUSHSIZE",
    "MERGE_ENABLED",
    "METADATA",
    "METHOD",
    "METRICS",
    "MIN_VERSIONS",
    "MOB_COMPACT_PARTITION_POLICY",
    "MOB_THRESHOLD",
    "NAME",
    "NEW_VERSION_BEHAVIOR",
    "NORMALIZATION_ENABLED",
    "NORMALIZER_TARGET_REGION_COUNT",
    "NORMALIZER_TARGET_REGION_SIZE",
    "NUMREGIONS",
    "OWNER",
    "PREFETCH_BLOCKS_ON_OPEN",
    "PRIORITY",
    "RAW",
    "READONLY",
    "READ_TYPE",
    "REGION_MEMSTORE_REPLICATION",
    "REGION_REPLICATION",
    "REGION_REPLICA_ID",
    "REPLICATION_SCOPE",
    "REVERSED",
    "ROWPREFIXFILTER",
    "SERVER_NAME",
    "SPLITALGO",
    "SPLITS",
    "SPLITS_FILE",
    "SPLIT_ENABLED",
    "SPLIT_POLICY",
    "STARTROW",
    "START_KEY",
    "STOPROW",
    "STORAGE_POLICY",
    "TIMERANGE",
    "TIMESTAMP",
    "TTL",
    "VALUE",
    "VERSIONS",
    "VISIBILITY",
];

/// The command of that name or other spelling.
pub fn find(name: &str) -> Option<&'static Word> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    WORDS.iter().find(|word| word.name == name)
}

/// Every way to type a command.
pub fn names() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|word| word.name).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// Longest name that is compared with others.
const NAME_LEN_MAX: usize = 100;

/// The name that is most like this one, if one is like it at all.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing is like a name that is far longer than all that are known; to measure it takes time and memory.
    if name.len() > NAME_LEN_MAX {
        return None;
    }
    let (distance, near) =
        known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(name.len() / 3)).then_some(near)
}

/// What to say of a word that is no command.
pub fn unknown(name: &str) -> String {
    if NOT_BUILT.contains(&name) {
        return format!(
            "the command `{name}` is one of HBase's that Ferrobase does not have yet; `help` lists those it has"
        );
    }
    match nearest(name, names()) {
        Some(near) => format!("unknown command or variable `{name}`; did you mean `{near}`?"),
        None => format!("unknown command or variable `{name}`; `help` lists the commands"),
    }
}

/// What the parser asks.
pub struct Known;

impl Names for Known {
    fn is_constant(&self, name: &str) -> bool {
        CONSTANTS.contains(&name)
    }

    fn is_filter(&self, name: &str) -> bool {
        model::filter::language::NAMES.contains(&name)
    }

    fn nearest_constant(&self, name: &str) -> Option<String> {
        nearest(name, CONSTANTS.iter().copied()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::lexer::Place;
    use crate::shell::parser;

    #[test]
    fn every_example_of_help_is_understood() {
        for word in WORDS {
            for example in word.examples.lines() {
                let parsed = parser::parse(example.as_bytes(), Place { line: 1, column: 1 }, true, &Known);
                let statement =
                    parsed.unwrap_or_else(|error| panic!("{example}: {error}")).statement.expect("a statement");
                let parser::Action::Call { name, receiver, .. } = statement.action else { panic!("{example}") };
                let found = find(&name).unwrap_or_else(|| panic!("{example}"));
                assert_eq!(found.name, word.name);
                assert!(receiver.is_none() || word.takes_table, "{example}");
            }
            assert!(GROUPS.contains(&word.group), "{}", word.name);
        }
    }

    #[test]
    fn unknown_words_name_the_nearest() {
        assert!(unknown("describ").contains("did you mean `describe`?"));
        assert!(unknown("merge_region").contains("does not have yet"));
        assert!(unknown("xyzzyxyzzy").contains("`help` lists"));
        assert!(!NOT_BUILT.iter().any(|name| find(name).is_some()));
    }
}
