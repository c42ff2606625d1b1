// Made by gateway/generate from gateway/idl; not edited by hand.
use crate::generated::hbase as generated;
use crate::thrift::call::{Call, Raised, Reply};
use crate::thrift::one::One;

/// Answers a call by its name.
pub(crate) async fn dispatch(handler: &One, call: Call<'_>) -> Reply {
    match call.name() {
        "enableTable" => {
            let args: generated::EnableTableArgs = call.args()?;
            match handler.enable_table(args).await {
                Ok(()) => call.answer(&generated::EnableTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::EnableTableResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "disableTable" => {
            let args: generated::DisableTableArgs = call.args()?;
            match handler.disable_table(args).await {
                Ok(()) => call.answer(&generated::DisableTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DisableTableResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "isTableEnabled" => {
            let args: generated::IsTableEnabledArgs = call.args()?;
            match handler.is_table_enabled(args).await {
                Ok(success) => call.answer(&generated::IsTableEnabledResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IsTableEnabledResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "compact" => {
            let args: generated::CompactArgs = call.args()?;
            match handler.compact(args).await {
                Ok(()) => call.answer(&generated::CompactResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CompactResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "majorCompact" => {
            let args: generated::MajorCompactArgs = call.args()?;
            match handler.major_compact(args).await {
                Ok(()) => call.answer(&generated::MajorCompactResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MajorCompactResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableNames" => {
            let args: generated::GetTableNamesArgs = call.args()?;
            match handler.get_table_names(args).await {
                Ok(success) => call.answer(&generated::GetTableNamesResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableNamesResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableNamesWithIsTableEnabled" => {
            let args: generated::GetTableNamesWithIsTableEnabledArgs = call.args()?;
            match handler.get_table_names_with_is_table_enabled(args).await {
                Ok(success) => call.answer(&generated::GetTableNamesWithIsTableEnabledResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableNamesWithIsTableEnabledResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getColumnDescriptors" => {
            let args: generated::GetColumnDescriptorsArgs = call.args()?;
            match handler.get_column_descriptors(args).await {
                Ok(success) => call.answer(&generated::GetColumnDescriptorsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetColumnDescriptorsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableRegions" => {
            let args: generated::GetTableRegionsArgs = call.args()?;
            match handler.get_table_regions(args).await {
                Ok(success) => call.answer(&generated::GetTableRegionsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableRegionsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "createTable" => {
            let args: generated::CreateTableArgs = call.args()?;
            match handler.create_table(args).await {
                Ok(()) => call.answer(&generated::CreateTableResult { io: None, ia: None, exist: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CreateTableResult { io: Some(generated::IOError::from(raised)), ia: None, exist: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::CreateTableResult { io: None, ia: Some(generated::IllegalArgument::from(raised)), exist: None }),
                Err(raised @ Raised::Exists { .. }) => call.raise(&generated::CreateTableResult { io: None, ia: None, exist: Some(generated::AlreadyExists::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteTable" => {
            let args: generated::DeleteTableArgs = call.args()?;
            match handler.delete_table(args).await {
                Ok(()) => call.answer(&generated::DeleteTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteTableResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "get" => {
            let args: generated::GetArgs = call.args()?;
            match handler.get(args).await {
                Ok(success) => call.answer(&generated::GetResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getVer" => {
            let args: generated::GetVerArgs = call.args()?;
            match handler.get_ver(args).await {
                Ok(success) => call.answer(&generated::GetVerResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetVerResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getVerTs" => {
            let args: generated::GetVerTsArgs = call.args()?;
            match handler.get_ver_ts(args).await {
                Ok(success) => call.answer(&generated::GetVerTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetVerTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRow" => {
            let args: generated::GetRowArgs = call.args()?;
            match handler.get_row(args).await {
                Ok(success) => call.answer(&generated::GetRowResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowWithColumns" => {
            let args: generated::GetRowWithColumnsArgs = call.args()?;
            match handler.get_row_with_columns(args).await {
                Ok(success) => call.answer(&generated::GetRowWithColumnsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowWithColumnsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowTs" => {
            let args: generated::GetRowTsArgs = call.args()?;
            match handler.get_row_ts(args).await {
                Ok(success) => call.answer(&generated::GetRowTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowWithColumnsTs" => {
            let args: generated::GetRowWithColumnsTsArgs = call.args()?;
            match handler.get_row_with_columns_ts(args).await {
                Ok(success) => call.answer(&generated::GetRowWithColumnsTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowWithColumnsTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRows" => {
            let args: generated::GetRowsArgs = call.args()?;
            match handler.get_rows(args).await {
                Ok(success) => call.answer(&generated::GetRowsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowsWithColumns" => {
            let args: generated::GetRowsWithColumnsArgs = call.args()?;
            match handler.get_rows_with_columns(args).await {
                Ok(success) => call.answer(&generated::GetRowsWithColumnsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowsWithColumnsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowsTs" => {
            let args: generated::GetRowsTsArgs = call.args()?;
            match handler.get_rows_ts(args).await {
                Ok(success) => call.answer(&generated::GetRowsTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowsTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRowsWithColumnsTs" => {
            let args: generated::GetRowsWithColumnsTsArgs = call.args()?;
            match handler.get_rows_with_columns_ts(args).await {
                Ok(success) => call.answer(&generated::GetRowsWithColumnsTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRowsWithColumnsTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "mutateRow" => {
            let args: generated::MutateRowArgs = call.args()?;
            match handler.mutate_row(args).await {
                Ok(()) => call.answer(&generated::MutateRowResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MutateRowResult { io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::MutateRowResult { io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "mutateRowTs" => {
            let args: generated::MutateRowTsArgs = call.args()?;
            match handler.mutate_row_ts(args).await {
                Ok(()) => call.answer(&generated::MutateRowTsResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MutateRowTsResult { io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::MutateRowTsResult { io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "mutateRows" => {
            let args: generated::MutateRowsArgs = call.args()?;
            match handler.mutate_rows(args).await {
                Ok(()) => call.answer(&generated::MutateRowsResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MutateRowsResult { io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::MutateRowsResult { io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "mutateRowsTs" => {
            let args: generated::MutateRowsTsArgs = call.args()?;
            match handler.mutate_rows_ts(args).await {
                Ok(()) => call.answer(&generated::MutateRowsTsResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MutateRowsTsResult { io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::MutateRowsTsResult { io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "atomicIncrement" => {
            let args: generated::AtomicIncrementArgs = call.args()?;
            match handler.atomic_increment(args).await {
                Ok(success) => call.answer(&generated::AtomicIncrementResult { success: Some(success), io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::AtomicIncrementResult { success: None, io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::AtomicIncrementResult { success: None, io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteAll" => {
            let args: generated::DeleteAllArgs = call.args()?;
            match handler.delete_all(args).await {
                Ok(()) => call.answer(&generated::DeleteAllResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteAllResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteAllTs" => {
            let args: generated::DeleteAllTsArgs = call.args()?;
            match handler.delete_all_ts(args).await {
                Ok(()) => call.answer(&generated::DeleteAllTsResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteAllTsResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteAllRow" => {
            let args: generated::DeleteAllRowArgs = call.args()?;
            match handler.delete_all_row(args).await {
                Ok(()) => call.answer(&generated::DeleteAllRowResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteAllRowResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "increment" => {
            let args: generated::IncrementArgs = call.args()?;
            match handler.increment(args).await {
                Ok(()) => call.answer(&generated::IncrementResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IncrementResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "incrementRows" => {
            let args: generated::IncrementRowsArgs = call.args()?;
            match handler.increment_rows(args).await {
                Ok(()) => call.answer(&generated::IncrementRowsResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IncrementRowsResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteAllRowTs" => {
            let args: generated::DeleteAllRowTsArgs = call.args()?;
            match handler.delete_all_row_ts(args).await {
                Ok(()) => call.answer(&generated::DeleteAllRowTsResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteAllRowTsResult { io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpenWithScan" => {
            let args: generated::ScannerOpenWithScanArgs = call.args()?;
            match handler.scanner_open_with_scan(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenWithScanResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenWithScanResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpen" => {
            let args: generated::ScannerOpenArgs = call.args()?;
            match handler.scanner_open(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpenWithStop" => {
            let args: generated::ScannerOpenWithStopArgs = call.args()?;
            match handler.scanner_open_with_stop(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenWithStopResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenWithStopResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpenWithPrefix" => {
            let args: generated::ScannerOpenWithPrefixArgs = call.args()?;
            match handler.scanner_open_with_prefix(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenWithPrefixResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenWithPrefixResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpenTs" => {
            let args: generated::ScannerOpenTsArgs = call.args()?;
            match handler.scanner_open_ts(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerOpenWithStopTs" => {
            let args: generated::ScannerOpenWithStopTsArgs = call.args()?;
            match handler.scanner_open_with_stop_ts(args).await {
                Ok(success) => call.answer(&generated::ScannerOpenWithStopTsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerOpenWithStopTsResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerGet" => {
            let args: generated::ScannerGetArgs = call.args()?;
            match handler.scanner_get(args).await {
                Ok(success) => call.answer(&generated::ScannerGetResult { success: Some(success), io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerGetResult { success: None, io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::ScannerGetResult { success: None, io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerGetList" => {
            let args: generated::ScannerGetListArgs = call.args()?;
            match handler.scanner_get_list(args).await {
                Ok(success) => call.answer(&generated::ScannerGetListResult { success: Some(success), io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerGetListResult { success: None, io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::ScannerGetListResult { success: None, io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "scannerClose" => {
            let args: generated::ScannerCloseArgs = call.args()?;
            match handler.scanner_close(args).await {
                Ok(()) => call.answer(&generated::ScannerCloseResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ScannerCloseResult { io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::ScannerCloseResult { io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRegionInfo" => {
            let args: generated::GetRegionInfoArgs = call.args()?;
            match handler.get_region_info(args).await {
                Ok(success) => call.answer(&generated::GetRegionInfoResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRegionInfoResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "append" => {
            let args: generated::AppendArgs = call.args()?;
            match handler.append(args).await {
                Ok(success) => call.answer(&generated::AppendResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::AppendResult { success: None, io: Some(generated::IOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "checkAndPut" => {
            let args: generated::CheckAndPutArgs = call.args()?;
            match handler.check_and_put(args).await {
                Ok(success) => call.answer(&generated::CheckAndPutResult { success: Some(success), io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CheckAndPutResult { success: None, io: Some(generated::IOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::CheckAndPutResult { success: None, io: None, ia: Some(generated::IllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getThriftServerType" => {
            let args: generated::GetThriftServerTypeArgs = call.args()?;
            match handler.get_thrift_server_type(args).await {
                Ok(success) => call.answer(&generated::GetThriftServerTypeResult { success: Some(success) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getClusterId" => {
            let args: generated::GetClusterIdArgs = call.args()?;
            match handler.get_cluster_id(args).await {
                Ok(success) => call.answer(&generated::GetClusterIdResult { success: Some(success) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        _ => Err(call.unknown()),
    }
}

/// A call read and written again.
pub(crate) fn again(call: &Call<'_>) -> Result<Vec<u8>, thrift::ApplicationError> {
    match call.name() {
        "enableTable" => call.again::<generated::EnableTableArgs>(),
        "disableTable" => call.again::<generated::DisableTableArgs>(),
        "isTableEnabled" => call.again::<generated::IsTableEnabledArgs>(),
        "compact" => call.again::<generated::CompactArgs>(),
        "majorCompact" => call.again::<generated::MajorCompactArgs>(),
        "getTableNames" => call.again::<generated::GetTableNamesArgs>(),
        "getTableNamesWithIsTableEnabled" => call.again::<generated::GetTableNamesWithIsTableEnabledArgs>(),
        "getColumnDescriptors" => call.again::<generated::GetColumnDescriptorsArgs>(),
        "getTableRegions" => call.again::<generated::GetTableRegionsArgs>(),
        "createTable" => call.again::<generated::CreateTableArgs>(),
        "deleteTable" => call.again::<generated::DeleteTableArgs>(),
        "get" => call.again::<generated::GetArgs>(),
        "getVer" => call.again::<generated::GetVerArgs>(),
        "getVerTs" => call.again::<generated::GetVerTsArgs>(),
        "getRow" => call.again::<generated::GetRowArgs>(),
        "getRowWithColumns" => call.again::<generated::GetRowWithColumnsArgs>(),
        "getRowTs" => call.again::<generated::GetRowTsArgs>(),
        "getRowWithColumnsTs" => call.again::<generated::GetRowWithColumnsTsArgs>(),
        "getRows" => call.again::<generated::GetRowsArgs>(),
        "getRowsWithColumns" => call.again::<generated::GetRowsWithColumnsArgs>(),
        "getRowsTs" => call.again::<generated::GetRowsTsArgs>(),
        "getRowsWithColumnsTs" => call.again::<generated::GetRowsWithColumnsTsArgs>(),
        "mutateRow" => call.again::<generated::MutateRowArgs>(),
        "mutateRowTs" => call.again::<generated::MutateRowTsArgs>(),
        "mutateRows" => call.again::<generated::MutateRowsArgs>(),
        "mutateRowsTs" => call.again::<generated::MutateRowsTsArgs>(),
        "atomicIncrement" => call.again::<generated::AtomicIncrementArgs>(),
        "deleteAll" => call.again::<generated::DeleteAllArgs>(),
        "deleteAllTs" => call.again::<generated::DeleteAllTsArgs>(),
        "deleteAllRow" => call.again::<generated::DeleteAllRowArgs>(),
        "increment" => call.again::<generated::IncrementArgs>(),
        "incrementRows" => call.again::<generated::IncrementRowsArgs>(),
        "deleteAllRowTs" => call.again::<generated::DeleteAllRowTsArgs>(),
        "scannerOpenWithScan" => call.again::<generated::ScannerOpenWithScanArgs>(),
        "scannerOpen" => call.again::<generated::ScannerOpenArgs>(),
        "scannerOpenWithStop" => call.again::<generated::ScannerOpenWithStopArgs>(),
        "scannerOpenWithPrefix" => call.again::<generated::ScannerOpenWithPrefixArgs>(),
        "scannerOpenTs" => call.again::<generated::ScannerOpenTsArgs>(),
        "scannerOpenWithStopTs" => call.again::<generated::ScannerOpenWithStopTsArgs>(),
        "scannerGet" => call.again::<generated::ScannerGetArgs>(),
        "scannerGetList" => call.again::<generated::ScannerGetListArgs>(),
        "scannerClose" => call.again::<generated::ScannerCloseArgs>(),
        "getRegionInfo" => call.again::<generated::GetRegionInfoArgs>(),
        "append" => call.again::<generated::AppendArgs>(),
        "checkAndPut" => call.again::<generated::CheckAndPutArgs>(),
        "getThriftServerType" => call.again::<generated::GetThriftServerTypeArgs>(),
        "getClusterId" => call.again::<generated::GetClusterIdArgs>(),
        _ => Err(call.unknown()),
    }
}
