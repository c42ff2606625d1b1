// Made by gateway/generate from gateway/idl; not edited by hand.
use crate::generated::thbase as generated;
use crate::thrift::call::{Call, Raised, Reply};
use crate::thrift::two::Two;

/// Answers a call by its name.
pub(crate) async fn dispatch(handler: &Two, call: Call<'_>) -> Reply {
    match call.name() {
        "exists" => {
            let args: generated::ExistsArgs = call.args()?;
            match handler.exists(args).await {
                Ok(success) => call.answer(&generated::ExistsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ExistsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "existsAll" => {
            let args: generated::ExistsAllArgs = call.args()?;
            match handler.exists_all(args).await {
                Ok(success) => call.answer(&generated::ExistsAllResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ExistsAllResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "get" => {
            let args: generated::GetArgs = call.args()?;
            match handler.get(args).await {
                Ok(success) => call.answer(&generated::GetResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getMultiple" => {
            let args: generated::GetMultipleArgs = call.args()?;
            match handler.get_multiple(args).await {
                Ok(success) => call.answer(&generated::GetMultipleResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetMultipleResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "put" => {
            let args: generated::PutArgs = call.args()?;
            match handler.put(args).await {
                Ok(()) => call.answer(&generated::PutResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::PutResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "checkAndPut" => {
            let args: generated::CheckAndPutArgs = call.args()?;
            match handler.check_and_put(args).await {
                Ok(success) => call.answer(&generated::CheckAndPutResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CheckAndPutResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "putMultiple" => {
            let args: generated::PutMultipleArgs = call.args()?;
            match handler.put_multiple(args).await {
                Ok(()) => call.answer(&generated::PutMultipleResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::PutMultipleResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteSingle" => {
            let args: generated::DeleteSingleArgs = call.args()?;
            match handler.delete_single(args).await {
                Ok(()) => call.answer(&generated::DeleteSingleResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteSingleResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteMultiple" => {
            let args: generated::DeleteMultipleArgs = call.args()?;
            match handler.delete_multiple(args).await {
                Ok(success) => call.answer(&generated::DeleteMultipleResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteMultipleResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "checkAndDelete" => {
            let args: generated::CheckAndDeleteArgs = call.args()?;
            match handler.check_and_delete(args).await {
                Ok(success) => call.answer(&generated::CheckAndDeleteResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CheckAndDeleteResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "increment" => {
            let args: generated::IncrementArgs = call.args()?;
            match handler.increment(args).await {
                Ok(success) => call.answer(&generated::IncrementResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IncrementResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "append" => {
            let args: generated::AppendArgs = call.args()?;
            match handler.append(args).await {
                Ok(success) => call.answer(&generated::AppendResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::AppendResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "openScanner" => {
            let args: generated::OpenScannerArgs = call.args()?;
            match handler.open_scanner(args).await {
                Ok(success) => call.answer(&generated::OpenScannerResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::OpenScannerResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getScannerRows" => {
            let args: generated::GetScannerRowsArgs = call.args()?;
            match handler.get_scanner_rows(args).await {
                Ok(success) => call.answer(&generated::GetScannerRowsResult { success: Some(success), io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetScannerRowsResult { success: None, io: Some(generated::TIOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::GetScannerRowsResult { success: None, io: None, ia: Some(generated::TIllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "closeScanner" => {
            let args: generated::CloseScannerArgs = call.args()?;
            match handler.close_scanner(args).await {
                Ok(()) => call.answer(&generated::CloseScannerResult { io: None, ia: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CloseScannerResult { io: Some(generated::TIOError::from(raised)), ia: None }),
                Err(raised @ Raised::Illegal { .. }) => call.raise(&generated::CloseScannerResult { io: None, ia: Some(generated::TIllegalArgument::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "mutateRow" => {
            let args: generated::MutateRowArgs = call.args()?;
            match handler.mutate_row(args).await {
                Ok(()) => call.answer(&generated::MutateRowResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::MutateRowResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getScannerResults" => {
            let args: generated::GetScannerResultsArgs = call.args()?;
            match handler.get_scanner_results(args).await {
                Ok(success) => call.answer(&generated::GetScannerResultsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetScannerResultsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getRegionLocation" => {
            let args: generated::GetRegionLocationArgs = call.args()?;
            match handler.get_region_location(args).await {
                Ok(success) => call.answer(&generated::GetRegionLocationResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetRegionLocationResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getAllRegionLocations" => {
            let args: generated::GetAllRegionLocationsArgs = call.args()?;
            match handler.get_all_region_locations(args).await {
                Ok(success) => call.answer(&generated::GetAllRegionLocationsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetAllRegionLocationsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "checkAndMutate" => {
            let args: generated::CheckAndMutateArgs = call.args()?;
            match handler.check_and_mutate(args).await {
                Ok(success) => call.answer(&generated::CheckAndMutateResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CheckAndMutateResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableDescriptor" => {
            let args: generated::GetTableDescriptorArgs = call.args()?;
            match handler.get_table_descriptor(args).await {
                Ok(success) => call.answer(&generated::GetTableDescriptorResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableDescriptorResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableDescriptors" => {
            let args: generated::GetTableDescriptorsArgs = call.args()?;
            match handler.get_table_descriptors(args).await {
                Ok(success) => call.answer(&generated::GetTableDescriptorsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableDescriptorsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "tableExists" => {
            let args: generated::TableExistsArgs = call.args()?;
            match handler.table_exists(args).await {
                Ok(success) => call.answer(&generated::TableExistsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::TableExistsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableDescriptorsByPattern" => {
            let args: generated::GetTableDescriptorsByPatternArgs = call.args()?;
            match handler.get_table_descriptors_by_pattern(args).await {
                Ok(success) => call.answer(&generated::GetTableDescriptorsByPatternResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableDescriptorsByPatternResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableDescriptorsByNamespace" => {
            let args: generated::GetTableDescriptorsByNamespaceArgs = call.args()?;
            match handler.get_table_descriptors_by_namespace(args).await {
                Ok(success) => call.answer(&generated::GetTableDescriptorsByNamespaceResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableDescriptorsByNamespaceResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableNamesByPattern" => {
            let args: generated::GetTableNamesByPatternArgs = call.args()?;
            match handler.get_table_names_by_pattern(args).await {
                Ok(success) => call.answer(&generated::GetTableNamesByPatternResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableNamesByPatternResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getTableNamesByNamespace" => {
            let args: generated::GetTableNamesByNamespaceArgs = call.args()?;
            match handler.get_table_names_by_namespace(args).await {
                Ok(success) => call.answer(&generated::GetTableNamesByNamespaceResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetTableNamesByNamespaceResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "createTable" => {
            let args: generated::CreateTableArgs = call.args()?;
            match handler.create_table(args).await {
                Ok(()) => call.answer(&generated::CreateTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CreateTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteTable" => {
            let args: generated::DeleteTableArgs = call.args()?;
            match handler.delete_table(args).await {
                Ok(()) => call.answer(&generated::DeleteTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "truncateTable" => {
            let args: generated::TruncateTableArgs = call.args()?;
            match handler.truncate_table(args).await {
                Ok(()) => call.answer(&generated::TruncateTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::TruncateTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "enableTable" => {
            let args: generated::EnableTableArgs = call.args()?;
            match handler.enable_table(args).await {
                Ok(()) => call.answer(&generated::EnableTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::EnableTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "disableTable" => {
            let args: generated::DisableTableArgs = call.args()?;
            match handler.disable_table(args).await {
                Ok(()) => call.answer(&generated::DisableTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DisableTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "isTableEnabled" => {
            let args: generated::IsTableEnabledArgs = call.args()?;
            match handler.is_table_enabled(args).await {
                Ok(success) => call.answer(&generated::IsTableEnabledResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IsTableEnabledResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "isTableDisabled" => {
            let args: generated::IsTableDisabledArgs = call.args()?;
            match handler.is_table_disabled(args).await {
                Ok(success) => call.answer(&generated::IsTableDisabledResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IsTableDisabledResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "isTableAvailable" => {
            let args: generated::IsTableAvailableArgs = call.args()?;
            match handler.is_table_available(args).await {
                Ok(success) => call.answer(&generated::IsTableAvailableResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IsTableAvailableResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "isTableAvailableWithSplit" => {
            let args: generated::IsTableAvailableWithSplitArgs = call.args()?;
            match handler.is_table_available_with_split(args).await {
                Ok(success) => call.answer(&generated::IsTableAvailableWithSplitResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::IsTableAvailableWithSplitResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "addColumnFamily" => {
            let args: generated::AddColumnFamilyArgs = call.args()?;
            match handler.add_column_family(args).await {
                Ok(()) => call.answer(&generated::AddColumnFamilyResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::AddColumnFamilyResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteColumnFamily" => {
            let args: generated::DeleteColumnFamilyArgs = call.args()?;
            match handler.delete_column_family(args).await {
                Ok(()) => call.answer(&generated::DeleteColumnFamilyResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteColumnFamilyResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "modifyColumnFamily" => {
            let args: generated::ModifyColumnFamilyArgs = call.args()?;
            match handler.modify_column_family(args).await {
                Ok(()) => call.answer(&generated::ModifyColumnFamilyResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ModifyColumnFamilyResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "modifyTable" => {
            let args: generated::ModifyTableArgs = call.args()?;
            match handler.modify_table(args).await {
                Ok(()) => call.answer(&generated::ModifyTableResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ModifyTableResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "createNamespace" => {
            let args: generated::CreateNamespaceArgs = call.args()?;
            match handler.create_namespace(args).await {
                Ok(()) => call.answer(&generated::CreateNamespaceResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::CreateNamespaceResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "modifyNamespace" => {
            let args: generated::ModifyNamespaceArgs = call.args()?;
            match handler.modify_namespace(args).await {
                Ok(()) => call.answer(&generated::ModifyNamespaceResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ModifyNamespaceResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "deleteNamespace" => {
            let args: generated::DeleteNamespaceArgs = call.args()?;
            match handler.delete_namespace(args).await {
                Ok(()) => call.answer(&generated::DeleteNamespaceResult { io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::DeleteNamespaceResult { io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "getNamespaceDescriptor" => {
            let args: generated::GetNamespaceDescriptorArgs = call.args()?;
            match handler.get_namespace_descriptor(args).await {
                Ok(success) => call.answer(&generated::GetNamespaceDescriptorResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetNamespaceDescriptorResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "listNamespaceDescriptors" => {
            let args: generated::ListNamespaceDescriptorsArgs = call.args()?;
            match handler.list_namespace_descriptors(args).await {
                Ok(success) => call.answer(&generated::ListNamespaceDescriptorsResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ListNamespaceDescriptorsResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "listNamespaces" => {
            let args: generated::ListNamespacesArgs = call.args()?;
            match handler.list_namespaces(args).await {
                Ok(success) => call.answer(&generated::ListNamespacesResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ListNamespacesResult { success: None, io: Some(generated::TIOError::from(raised)) }),
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
        "getSlowLogResponses" => {
            let args: generated::GetSlowLogResponsesArgs = call.args()?;
            match handler.get_slow_log_responses(args).await {
                Ok(success) => call.answer(&generated::GetSlowLogResponsesResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::GetSlowLogResponsesResult { success: None, io: Some(generated::TIOError::from(raised)) }),
                Err(raised) => Err(raised.undeclared()),
            }
        }
        "clearSlowLogResponses" => {
            let args: generated::ClearSlowLogResponsesArgs = call.args()?;
            match handler.clear_slow_log_responses(args).await {
                Ok(success) => call.answer(&generated::ClearSlowLogResponsesResult { success: Some(success), io: None }),
                Err(raised @ Raised::Io { .. }) => call.raise(&generated::ClearSlowLogResponsesResult { success: None, io: Some(generated::TIOError::from(raised)) }),
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
        "exists" => call.again::<generated::ExistsArgs>(),
        "existsAll" => call.again::<generated::ExistsAllArgs>(),
        "get" => call.again::<generated::GetArgs>(),
        "getMultiple" => call.again::<generated::GetMultipleArgs>(),
        "put" => call.again::<generated::PutArgs>(),
        "checkAndPut" => call.again::<generated::CheckAndPutArgs>(),
        "putMultiple" => call.again::<generated::PutMultipleArgs>(),
        "deleteSingle" => call.again::<generated::DeleteSingleArgs>(),
        "deleteMultiple" => call.again::<generated::DeleteMultipleArgs>(),
        "checkAndDelete" => call.again::<generated::CheckAndDeleteArgs>(),
        "increment" => call.again::<generated::IncrementArgs>(),
        "append" => call.again::<generated::AppendArgs>(),
        "openScanner" => call.again::<generated::OpenScannerArgs>(),
        "getScannerRows" => call.again::<generated::GetScannerRowsArgs>(),
        "closeScanner" => call.again::<generated::CloseScannerArgs>(),
        "mutateRow" => call.again::<generated::MutateRowArgs>(),
        "getScannerResults" => call.again::<generated::GetScannerResultsArgs>(),
        "getRegionLocation" => call.again::<generated::GetRegionLocationArgs>(),
        "getAllRegionLocations" => call.again::<generated::GetAllRegionLocationsArgs>(),
        "checkAndMutate" => call.again::<generated::CheckAndMutateArgs>(),
        "getTableDescriptor" => call.again::<generated::GetTableDescriptorArgs>(),
        "getTableDescriptors" => call.again::<generated::GetTableDescriptorsArgs>(),
        "tableExists" => call.again::<generated::TableExistsArgs>(),
        "getTableDescriptorsByPattern" => call.again::<generated::GetTableDescriptorsByPatternArgs>(),
        "getTableDescriptorsByNamespace" => call.again::<generated::GetTableDescriptorsByNamespaceArgs>(),
        "getTableNamesByPattern" => call.again::<generated::GetTableNamesByPatternArgs>(),
        "getTableNamesByNamespace" => call.again::<generated::GetTableNamesByNamespaceArgs>(),
        "createTable" => call.again::<generated::CreateTableArgs>(),
        "deleteTable" => call.again::<generated::DeleteTableArgs>(),
        "truncateTable" => call.again::<generated::TruncateTableArgs>(),
        "enableTable" => call.again::<generated::EnableTableArgs>(),
        "disableTable" => call.again::<generated::DisableTableArgs>(),
        "isTableEnabled" => call.again::<generated::IsTableEnabledArgs>(),
        "isTableDisabled" => call.again::<generated::IsTableDisabledArgs>(),
        "isTableAvailable" => call.again::<generated::IsTableAvailableArgs>(),
        "isTableAvailableWithSplit" => call.again::<generated::IsTableAvailableWithSplitArgs>(),
        "addColumnFamily" => call.again::<generated::AddColumnFamilyArgs>(),
        "deleteColumnFamily" => call.again::<generated::DeleteColumnFamilyArgs>(),
        "modifyColumnFamily" => call.again::<generated::ModifyColumnFamilyArgs>(),
        "modifyTable" => call.again::<generated::ModifyTableArgs>(),
        "createNamespace" => call.again::<generated::CreateNamespaceArgs>(),
        "modifyNamespace" => call.again::<generated::ModifyNamespaceArgs>(),
        "deleteNamespace" => call.again::<generated::DeleteNamespaceArgs>(),
        "getNamespaceDescriptor" => call.again::<generated::GetNamespaceDescriptorArgs>(),
        "listNamespaceDescriptors" => call.again::<generated::ListNamespaceDescriptorsArgs>(),
        "listNamespaces" => call.again::<generated::ListNamespacesArgs>(),
        "getThriftServerType" => call.again::<generated::GetThriftServerTypeArgs>(),
        "getSlowLogResponses" => call.again::<generated::GetSlowLogResponsesArgs>(),
        "clearSlowLogResponses" => call.again::<generated::ClearSlowLogResponsesArgs>(),
        "getClusterId" => call.again::<generated::GetClusterIdArgs>(),
        _ => Err(call.unknown()),
    }
}
