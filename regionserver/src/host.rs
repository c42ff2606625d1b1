//! A master's orders: open, close, update.
//!
//! Always true
//! - An order of an older master than one seen before is refused.
//! - Orders for one region are carried out one after the other, to their end, even if the caller goes away; repeating one
//!   that was carried out answers as it did.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::ErrorKind;
use protocol::envelope::{
    CloseRegionOrder, CloseRegionReport, OpenRegionOrder, OpenRegionReport, UpdateRegionOrder, UpdateRegionReport,
};
use protocol::schema;
use protocol::service::RpcError;
use storage::region::Region;

use crate::errors;
use crate::regions::Hosted;
use crate::server::RegionServer;

impl RegionServer {
    fn check_master(&self, epoch: u32) -> Result<(), RpcError> {
        self.check_running()?;
        let seen = self.master_epoch.fetch_max(epoch, Ordering::AcqRel);
        if epoch < seen {
            let message = format!("the order comes from master epoch {epoch}, which epoch {seen} has replaced");
            return Err(RpcError::new(ErrorKind::Fenced, message));
        }
        Ok(())
    }

    pub(crate) async fn open_region(self: Arc<Self>, order: OpenRegionOrder) -> Result<OpenRegionReport, RpcError> {
        self.check_master(order.master_epoch)?;
        let info = schema::region_info_from(&order.region).map_err(|error| RpcError::invalid(error.to_string()))?;
        let table = schema::table_from(&order.table).map_err(|error| RpcError::invalid(error.to_string()))?;
        let names = [info.region_name(), Bytes::from(info.encoded_name())];
        let _order = self.orders_of(&names[1]).lock().await;
        self.check_master(order.master_epoch)?;
        if let Some(open) = self.regions.find(&names[0]) {
            let epoch = open.region.epoch();
            if epoch == order.epoch {
                return Ok(OpenRegionReport { read_point: open.opened_at });
            }
            if epoch > order.epoch {
                let message = format!("region {info} is open under epoch {epoch:x}, above {:x}", order.epoch);
                return Err(RpcError::new(ErrorKind::Fenced, message));
            }
            // The master lost sight of the first opening; giving the region up keeps its log small.
            self.close_hosted(&open, None).await?;
        }
        self.regions.opening(names.clone());
        let ctx = self.ctx.region.clone();
        match Region::open(ctx, info, &order.table_id, order.epoch, Arc::new(table)).await {
            Ok(region) => {
                let hosted = Arc::new(Hosted::new(region, self.ctx.region.runtime.clock.now_ms()));
                tracing::info!(region = %hosted.region.info(), epoch = order.epoch, "region opened");
                let read_point = hosted.opened_at;
                self.regions.opened(hosted.clone());
                self.took_in(&hosted).await;
                Ok(OpenRegionReport { read_point })
            }
            Err(error) => {
                tracing::warn!(region = %names[0].escape_ascii(), %error, "region was not opened");
                let error = errors::storage(error);
                self.regions.failed(names, &error);
                Err(error)
            }
        }
    }

    pub(crate) async fn close_region(self: Arc<Self>, order: CloseRegionOrder) -> Result<CloseRegionReport, RpcError> {
        self.check_master(order.master_epoch)?;
        let _order = self.orders_of(order.encoded_name.as_bytes()).lock().await;
        self.check_master(order.master_epoch)?;
        if let Some(open) = self.regions.find(order.encoded_name.as_bytes()) {
            self.close_hosted(&open, None).await?;
        }
        self.regions.forget_failed(order.encoded_name.as_bytes());
        Ok(CloseRegionReport {})
    }

    pub(crate) async fn update_region(
        self: Arc<Self>,
        order: UpdateRegionOrder,
    ) -> Result<UpdateRegionReport, RpcError> {
        self.check_master(order.master_epoch)?;
        let table = schema::table_from(&order.table).map_err(|error| RpcError::invalid(error.to_string()))?;
        let _order = self.orders_of(order.encoded_name.as_bytes()).lock().await;
        self.check_master(order.master_epoch)?;
        let Some(open) = self.regions.find(order.encoded_name.as_bytes()) else {
            return Err(errors::not_serving(order.encoded_name.as_bytes(), &self.ctx.server));
        };
        if *open.region.descriptor() != table {
            open.region.update(Arc::new(table)).await.map_err(errors::storage)?;
        }
        Ok(UpdateRegionReport {})
    }

    /// Flushes and gives up. The caller holds the region's order lock.
    async fn close_hosted(
        &self,
        hosted: &Arc<Hosted>,
        to: Option<(protocol::service::MovedTo, u64)>,
    ) -> Result<(), RpcError> {
        hosted.region.close().await.map_err(errors::storage)?;
        self.regions.remove(hosted, to, self.ctx.region.runtime.clock.monotonic());
        tracing::info!(region = %hosted.region.info(), "region closed");
        Ok(())
    }
}
