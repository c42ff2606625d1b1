//! Orders to the region server, and META through it.
//!
//! Always true: META is read and written as any client would, by calls.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::BytesMut;
use model::Cell;
use model::mutation::Mutation;
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{TableDescriptor, TableName};
use protocol::cell_block::CellBlock;
use protocol::envelope::{CloseRegionOrder, OpenRegionOrder, OpenRegionReport, UpdateRegionOrder};
use protocol::messages as pb;
use protocol::schema::region_specifier;
use protocol::service::{ADMIN, CLIENT, Call, HOST, RpcError, Service};
use protocol::{mutation, query, result, schema};

/// Mutations of META in one call.
pub(crate) const META_BATCH: usize = 200;
/// Rows of META in one answer.
const META_PAGE: u32 = 1000;

type Result<T> = std::result::Result<T, RpcError>;

/// The region server as the master sees it.
#[derive(Debug)]
pub(crate) struct Host {
    pub service: Arc<dyn Service>,
    pub master_epoch: u32,
}

fn meta() -> pb::RegionSpecifier {
    region_specifier(RegionInfo::meta().region_name())
}

impl Host {
    /// Opens a region; answers its highest sequence number.
    pub async fn open(
        &self,
        region: &RegionInfo,
        table_id: &str,
        epoch: u64,
        descriptor: &TableDescriptor,
    ) -> Result<u64> {
        let order = OpenRegionOrder {
            master_epoch: self.master_epoch,
            region: schema::region_info_to(region),
            table_id: table_id.to_owned(),
            epoch,
            table: schema::table_to(descriptor),
        };
        let reply = self.service.call(Call::new(HOST, "OpenRegion", &order)).await?;
        Ok(reply.decode::<OpenRegionReport>()?.read_point)
    }

    /// Closes a region; one that is not open is closed.
    pub async fn close(&self, encoded_name: &str) -> Result<()> {
        let order = CloseRegionOrder { master_epoch: self.master_epoch, encoded_name: encoded_name.to_owned() };
        self.service.call(Call::new(HOST, "CloseRegion", &order)).await.map(drop)
    }

    /// Hands an open region its table's new descriptor.
    pub async fn update(&self, encoded_name: &str, descriptor: &TableDescriptor) -> Result<()> {
        let order = UpdateRegionOrder {
            master_epoch: self.master_epoch,
            encoded_name: encoded_name.to_owned(),
            table: schema::table_to(descriptor),
        };
        self.service.call(Call::new(HOST, "UpdateRegion", &order)).await.map(drop)
    }

    /// Applies mutations to META, all or an error; then any part may have been applied.
    pub async fn write_meta(&self, mutations: &[Mutation]) -> Result<()> {
        for batch in mutations.chunks(META_BATCH) {
            let mut block = BytesMut::new();
            let action = |(index, mutation): (usize, &Mutation)| pb::Action {
                index: Some(index as u32),
                mutation: Some(mutation::mutation_to(mutation, None, &mut block)),
                ..pb::Action::default()
            };
            let action = batch.iter().enumerate().map(action).collect();
            let request = pb::MultiRequest {
                region_action: vec![pb::RegionAction { region: meta(), atomic: None, action, condition: None }],
                ..pb::MultiRequest::default()
            };
            let call = Call { cells: block.freeze(), ..Call::new(CLIENT, "Multi", &request) };
            let response: pb::MultiResponse = self.service.call(call).await?.decode()?;
            let results = response.region_action_result;
            let failed = results.iter().find_map(|result| {
                let each = || result.result_or_exception.iter().find_map(|one| one.exception.as_ref());
                result.exception.as_ref().or_else(each)
            });
            if let Some(failed) = failed {
                let message = String::from_utf8_lossy(failed.value.as_deref().unwrap_or_default()).into_owned();
                return Err(RpcError::received(&failed.name, message, false));
            }
        }
        Ok(())
    }

    /// Reads META's rows, a page at a time.
    pub async fn scan_meta(&self, scan: &Scan, mut page: impl FnMut(Vec<Vec<Cell>>) + Send) -> Result<()> {
        let mut request = pb::ScanRequest {
            region: Some(meta()),
            scan: Some(query::scan_to(scan)),
            number_of_rows: Some(META_PAGE),
            ..pb::ScanRequest::default()
        };
        loop {
            let reply = self.service.call(Call::new(CLIENT, "Scan", &request)).await?;
            let response: pb::ScanResponse = reply.decode()?;
            let scanned = result::scanned_from(&response, &mut CellBlock::new(reply.cells))?;
            page(scanned.into_iter().map(|(cells, _)| cells).collect());
            let more = response.more_results_in_region() && response.more_results.unwrap_or(true);
            let Some(scanner_id) = response.scanner_id.filter(|_| more) else { return Ok(()) };
            let number_of_rows = Some(META_PAGE);
            request = pb::ScanRequest { scanner_id: Some(scanner_id), number_of_rows, ..pb::ScanRequest::default() };
        }
    }

    /// Encoded names of the regions that are open.
    pub async fn online(&self) -> Result<HashSet<String>> {
        let reply = self.service.call(Call::new(ADMIN, "GetOnlineRegion", &pb::GetOnlineRegionRequest {})).await?;
        let answer: pb::GetOnlineRegionResponse = reply.decode()?;
        let encoded = |region| Ok(schema::region_info_from(region)?.encoded_name());
        answer.region_info.iter().map(encoded).collect()
    }

    /// What the server says of its regions.
    pub async fn region_loads(&self, table: Option<&TableName>) -> Result<Vec<pb::RegionLoad>> {
        let request = pb::GetRegionLoadRequest { table_name: table.map(schema::table_name_to) };
        let reply = self.service.call(Call::new(ADMIN, "GetRegionLoad", &request)).await?;
        Ok(reply.decode::<pb::GetRegionLoadResponse>()?.region_loads)
    }

    /// Flushes a region.
    pub async fn flush(&self, region: &RegionInfo) -> Result<()> {
        let region = region_specifier(region.region_name());
        let request = pb::FlushRegionRequest { region, ..pb::FlushRegionRequest::default() };
        self.service.call(Call::new(ADMIN, "FlushRegion", &request)).await.map(drop)
    }
}
