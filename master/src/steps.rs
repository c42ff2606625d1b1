//! What procedures do, step by step. Every step may run any number of times.
//!
//! | kind | steps; the one in capitals decides |
//! | --- | --- |
//! | create | head and manifests; CATALOG; META, open |
//! | delete | close; RETIRE the first region; the others, head dropped, catalog; META; files |
//! | truncate | close; RETIRE the first region; the others, new manifests, head; META, open; files |
//! | enable | HEAD; open, META |
//! | disable | HEAD; close, META |
//! | modify | HEAD; tell the regions; files of lost families |
//! | namespaces | CATALOG |
//!
//! Before the deciding step a failure that time does not mend is answered by taking everything back; after it the
//! procedure goes on until it is done.

use futures::FutureExt;
use futures::future::BoxFuture;
use model::ErrorKind;
use model::region::RegionInfo;
use protocol::meta::TableState;
use protocol::service::RpcError;

use crate::error::{MasterError, Result};
use crate::head::{self, HeadState, TableHead};
use crate::master::Master;
use crate::procedure::{Kind, Record};
use crate::refusal::{enabled_still, namespace_not_empty, namespace_not_found, table_exists, table_not_found};
use crate::regions::{Failed, openings};
use crate::tables::Table;

/// What follows a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next step.
    Step,
    /// The end; regions may have failed to open, for reasons of their own.
    End(Vec<Failed>),
}

fn refuse<T>(kind: ErrorKind, class: &str, message: impl Into<String>) -> Result<T> {
    Err(MasterError::Rpc(RpcError::of(kind, class, message)))
}

fn plan<'a>(record: &'a Record, head: &'a Option<TableHead>) -> Result<&'a TableHead> {
    head.as_ref()
        .ok_or_else(|| RpcError::new(ErrorKind::Corrupt, format!("procedure {} has lost its plan", record.id)).into())
}

fn first(regions: &[RegionInfo]) -> &[RegionInfo] {
    &regions[..regions.len().min(1)]
}

impl Record {
    /// The step that decides.
    fn deciding_step(&self) -> u32 {
        match self.kind {
            Kind::CreateTable | Kind::DeleteTable | Kind::TruncateTable => 1,
            _ => 0,
        }
    }

    /// Whether a failure can still be answered by taking everything back.
    pub fn can_give_up(&self) -> bool {
        self.step <= self.deciding_step()
    }
}

impl Master {
    /// Does a procedure's next step.
    pub(crate) fn step<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Next>> {
        match record.kind {
            Kind::CreateTable => self.step_create(record).boxed(),
            Kind::DeleteTable => self.step_delete(record).boxed(),
            Kind::TruncateTable => self.step_truncate(record).boxed(),
            Kind::EnableTable => self.step_enable(record).boxed(),
            Kind::DisableTable => self.step_disable(record).boxed(),
            Kind::ModifyTable => self.step_modify(record).boxed(),
            Kind::CreateNamespace | Kind::ModifyNamespace | Kind::DeleteNamespace => {
                self.step_namespace(record).boxed()
            }
            Kind::FlushTable => self.step_flush(record).boxed(),
        }
    }

    /// Takes back what a procedure did before its deciding step.
    pub(crate) async fn undo(&self, record: &Record) -> Result<()> {
        match record.kind {
            Kind::CreateTable => {
                let after = plan(record, &record.after)?;
                // First the stub, so that nobody goes on with the table; then its parts.
                self.drop_head(record, after).await?;
                self.retire_regions(&record.table_id, &after.regions).await?;
                self.delete_files(&record.table_id, &after.regions, true).await
            }
            Kind::EnableTable | Kind::DisableTable => {
                let before = plan(record, &record.before)?;
                match self.tables.get(before.name()) {
                    Some(table) if table.head.state == HeadState::Enabled => {
                        self.tell_state(before.name(), TableState::Enabled).await
                    }
                    Some(_) => self.tell_state(before.name(), TableState::Disabled).await,
                    None => self.forget_in_meta(&[], Some(before.name())).await,
                }
            }
            _ => Ok(()),
        }
    }

    async fn step_create(&self, record: &Record) -> Result<Next> {
        let after = plan(record, &record.after)?;
        let (table, id) = (after.name(), record.table_id.as_str());
        match record.step {
            0 => {
                let head = self.tables.change_head(id, |head| Ok(head.is_none().then(|| after.clone()))).await?;
                if head.state == HeadState::Dropped {
                    return refuse(ErrorKind::Conflict, "DoNotRetryIOException", format!("table {table} was given up"));
                }
                self.create_manifests(id, &after.descriptor, &after.regions).await?;
                Ok(Next::Step)
            }
            1 => {
                self.tables
                    .change_catalog(|catalog| {
                        if catalog.tables.get(table).is_some_and(|known| known == id) {
                            return Ok(());
                        }
                        if !catalog.namespaces.contains_key(table.namespace()) {
                            return Err(namespace_not_found(table.namespace()).into());
                        }
                        if catalog.tables.insert(table.clone(), id.to_owned()).is_some() {
                            return Err(table_exists(table).into());
                        }
                        Ok(())
                    })
                    .await?;
                self.tables.publish(Table { id: id.to_owned(), head: after.clone() });
                Ok(Next::Step)
            }
            _ => self.bring_in(id, after).await.map(Next::End),
        }
    }

    /// Opens a table's regions and tells META.
    async fn bring_in(&self, id: &str, head: &TableHead) -> Result<Vec<Failed>> {
        let table = head.name();
        self.tell_state(table, TableState::Enabling).await?;
        let failed = self.open_regions(openings(id, &head.descriptor, &head.regions)).await?;
        let lost: Vec<RegionInfo> = failed.iter().map(|(info, _)| info.clone()).collect();
        let put = |info: &RegionInfo| protocol::meta::failed_put(info, &self.server, self.meta_timestamp());
        self.host.write_meta(&lost.iter().map(put).collect::<Vec<_>>()).await?;
        self.tell_state(table, TableState::Enabled).await?;
        Ok(failed)
    }

    /// Writes the stub that says a table is gone for ever.
    async fn drop_head(&self, record: &Record, head: &TableHead) -> Result<()> {
        if self.tables.is_head_lost(&record.table_id).await? {
            // A damaged one cannot be swapped.
            self.ctx.fs.delete_register(&head::path(&record.table_id)).await?;
        }
        let stub = TableHead::dropped(head.name().clone());
        self.tables.change_head(&record.table_id, |now| Ok((now != Some(&stub)).then(|| stub.clone()))).await.map(drop)
    }

    /// Refuses to go on with a table that is not out of service: the procedure has outlived what it was meant for.
    async fn check_out_of_service(&self, record: &Record) -> Result<()> {
        match self.tables.read_head(&record.table_id).await? {
            Some((_, head)) if head.state == HeadState::Enabled => Err(enabled_still(head.name()).into()),
            _ => Ok(()),
        }
    }

    /// Closes the regions of a table that is out of service, for them to be retired.
    async fn close_out_of_service(&self, record: &Record, before: &TableHead) -> Result<()> {
        let id = record.table_id.as_str();
        self.check_out_of_service(record).await?;
        self.close_regions(openings(id, &before.descriptor, &before.regions), false).await?;
        self.check_retirable(id, &before.regions).await
    }

    async fn step_delete(&self, record: &Record) -> Result<Next> {
        let before = plan(record, &record.before)?;
        let (table, id) = (before.name(), record.table_id.as_str());
        match record.step {
            // Without a head it was never in service, and its families are not known.
            0 if self.tables.is_head_lost(id).await? => self.check_retirable(id, &before.regions).await?,
            0 => self.close_out_of_service(record, before).await?,
            1 => self.retire_regions(id, first(&before.regions)).await?,
            2 => {
                self.retire_regions(id, &before.regions).await?;
                self.drop_head(record, before).await?;
                self.tables
                    .change_catalog(|catalog| {
                        if catalog.tables.get(table).is_some_and(|known| known == id) {
                            catalog.tables.remove(table);
                        }
                        Ok(())
                    })
                    .await?;
                self.tables.forget(table, id);
            }
            3 => {
                // A younger table of this name keeps its state.
                let gone = !self.tables.catalog().tables.contains_key(table);
                self.forget_in_meta(&before.regions, gone.then_some(table)).await?;
            }
            _ => {
                self.delete_files(id, &before.regions, true).await?;
                return Ok(Next::End(Vec::new()));
            }
        }
        Ok(Next::Step)
    }

    async fn step_truncate(&self, record: &Record) -> Result<Next> {
        let (before, after) = (plan(record, &record.before)?, plan(record, &record.after)?);
        let id = record.table_id.as_str();
        match record.step {
            0 => self.close_out_of_service(record, before).await?,
            1 => self.retire_regions(id, first(&before.regions)).await?,
            2 => {
                self.retire_regions(id, &before.regions).await?;
                self.create_manifests(id, &after.descriptor, &after.regions).await?;
                self.tables.change_head(id, |head| Ok((head != Some(after)).then(|| after.clone()))).await?;
            }
            3 => {
                self.forget_in_meta(&before.regions, None).await?;
                let failed = self.bring_in(id, after).await?;
                if !failed.is_empty() {
                    tracing::error!(table = %after.name(), ?failed, "new regions do not open");
                }
            }
            _ => {
                self.delete_files(id, &before.regions, false).await?;
                return Ok(Next::End(Vec::new()));
            }
        }
        Ok(Next::Step)
    }

    async fn set_state(&self, record: &Record, state: HeadState) -> Result<TableHead> {
        let name = plan(record, &record.before)?.name();
        self.tables
            .change_head(&record.table_id, |head| match head {
                Some(head) if head.state == state => Ok(None),
                Some(head) if head.state != HeadState::Dropped => Ok(Some(TableHead { state, ..head.clone() })),
                _ => Err(table_not_found(name).into()),
            })
            .await
    }

    async fn step_enable(&self, record: &Record) -> Result<Next> {
        let name = plan(record, &record.before)?.name();
        if record.step == 0 {
            self.tell_state(name, TableState::Enabling).await?;
            self.set_state(record, HeadState::Enabled).await?;
            return Ok(Next::Step);
        }
        let head = self.set_state(record, HeadState::Enabled).await?;
        self.bring_in(&record.table_id, &head).await.map(Next::End)
    }

    async fn step_disable(&self, record: &Record) -> Result<Next> {
        let name = plan(record, &record.before)?.name();
        if record.step == 0 {
            self.tell_state(name, TableState::Disabling).await?;
            self.set_state(record, HeadState::Disabled).await?;
            return Ok(Next::Step);
        }
        let head = self.set_state(record, HeadState::Disabled).await?;
        self.close_regions(openings(&record.table_id, &head.descriptor, &head.regions), true).await?;
        self.tell_state(name, TableState::Disabled).await?;
        Ok(Next::End(Vec::new()))
    }

    async fn step_modify(&self, record: &Record) -> Result<Next> {
        let (before, after) = (plan(record, &record.before)?, plan(record, &record.after)?);
        let id = record.table_id.as_str();
        let lost = || before.descriptor.families.keys().filter(|name| !after.descriptor.families.contains_key(*name));
        match record.step {
            0 => {
                self.tables
                    .change_head(id, |head| match head {
                        Some(head) if head.state == HeadState::Dropped => Err(table_not_found(before.name()).into()),
                        Some(head) if head.revision == after.revision && head.descriptor == after.descriptor => {
                            Ok(None)
                        }
                        Some(head) if head.revision != before.revision => {
                            let class = "ConcurrentTableModificationException";
                            refuse(ErrorKind::Conflict, class, before.name().to_string())
                        }
                        Some(head) => Ok(Some(TableHead {
                            descriptor: after.descriptor.clone(),
                            revision: after.revision,
                            ..head.clone()
                        })),
                        None => Err(table_not_found(before.name()).into()),
                    })
                    .await?;
                Ok(Next::Step)
            }
            1 => {
                let all = openings(id, &after.descriptor, &after.regions);
                if after.state == HeadState::Enabled {
                    self.update_regions(after).await?;
                    // What was not open takes the new descriptor by opening.
                    let failed = self.open_regions(all).await?;
                    if !failed.is_empty() {
                        tracing::error!(table = %after.name(), ?failed, "regions do not open");
                    }
                } else if lost().next().is_some() {
                    // The regions must forget the lost families, lest one of the same name finds their files.
                    self.open_quietly(all.clone()).await?;
                    self.close_regions(all, false).await?;
                }
                Ok(Next::Step)
            }
            _ => {
                let lost: Vec<_> = lost().cloned().collect();
                self.delete_families(&after.regions, &lost).await?;
                Ok(Next::End(Vec::new()))
            }
        }
    }

    async fn step_flush(&self, record: &Record) -> Result<Next> {
        let before = plan(record, &record.before)?;
        self.open_regions(openings(&record.table_id, &before.descriptor, &before.regions)).await?;
        self.flush_regions(&before.regions).await?;
        Ok(Next::End(Vec::new()))
    }

    async fn step_namespace(&self, record: &Record) -> Result<Next> {
        let name = &record.namespace;
        self.tables
            .change_catalog(|catalog| {
                match record.kind {
                    Kind::CreateNamespace => drop(catalog.namespaces.insert(name.clone(), record.properties.clone())),
                    Kind::ModifyNamespace => match catalog.namespaces.get_mut(name) {
                        Some(properties) => *properties = record.properties.clone(),
                        None => return Err(namespace_not_found(name).into()),
                    },
                    _ => {
                        if let Some(table) = catalog.tables.keys().find(|table| table.namespace() == name) {
                            return Err(namespace_not_empty(name, table).into());
                        }
                        catalog.namespaces.remove(name);
                    }
                }
                Ok(())
            })
            .await?;
        Ok(Next::End(Vec::new()))
    }
}
