//! Bulk loads: files below the store's data root become regions' own.

use bytes::Bytes;
use protocol::messages as pb;
use protocol::messages::bulk_load_h_file_request::FamilyPath;
use protocol::schema::table_name_to;
use protocol::service::{CLIENT, Call};

use super::Table;
use crate::Result;
use crate::error::{Effect, Subject};
use crate::retry::Retry;

/// Where files of a load may be gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRoom {
    /// A folder, as a key below the data root; nobody else has it. What is left in it after a week is deleted.
    pub folder: String,
    /// Where the data root lies, if the server tells.
    pub root_url: Option<String>,
}

/// Files that one region is to take, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionFiles {
    /// Names the load: a region takes an id once. 1 to 128 printable ASCII characters.
    pub id: String,
    /// Families, and keys of files below the data root.
    pub files: Vec<(Bytes, String)>,
    /// Whether the server reads every file whole before.
    pub verify: bool,
}

/// What became of a region's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionLoaded {
    /// They are the region's now: so many cells.
    Done(u64),
    /// A load of this id had been done before; these files were not looked at.
    Before,
    /// A file reaches beyond the region; nothing happened.
    BordersChanged,
}

impl Table {
    /// Asks for a place where files of a load can be gathered.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn prepare_bulk_load(&self) -> Result<LoadRoom> {
        let first = Bytes::new();
        let mut retry = self.retry("prepare bulk load", Effect::Repeatable, &first);
        let table_name = table_name_to(&self.name);
        let build = |region| {
            let request = pb::PrepareBulkLoadRequest { table_name: table_name.clone(), region: Some(region) };
            Call::new(CLIENT, "PrepareBulkLoad", &request)
        };
        let reply = self.call_row(&mut retry, &first, build).await?;
        let answer: pb::PrepareBulkLoadResponse = reply.decode().map_err(|cause| retry.fail(cause))?;
        Ok(LoadRoom { folder: answer.bulk_token, root_url: answer.root_url })
    }

    /// Has the region that holds `row` take files. A repetition with the same id does nothing, so this may be tried again after any error.
    /// It may last as long as a [procedure](crate::ConnectionBuilder::procedure_timeout).
    ///
    /// # Errors
    /// Invalid for files that cannot be taken; NotFound for a family that does not exist; else as [`Table::get`].
    pub async fn bulk_load(&self, row: &Bytes, room: &LoadRoom, load: &RegionFiles) -> Result<RegionLoaded> {
        let subject = Subject::new("bulk load", Effect::Repeatable).of(&self.name).row(row);
        let end = self.cluster.calls.now() + self.cluster.calls.settings.procedure_timeout;
        let mut retry = Retry::new(&self.cluster, subject.until(end));
        let file = |(family, path): &(Bytes, String)| FamilyPath { family: family.clone(), path: path.clone() };
        let mut request = pb::BulkLoadHFileRequest {
            family_path: load.files.iter().map(file).collect(),
            assign_seq_num: Some(true),
            bulk_token: Some(room.folder.clone()),
            load_id: Some(load.id.clone()),
            verify: Some(load.verify),
            ..pb::BulkLoadHFileRequest::default()
        };
        let build = |region| {
            request.region = region;
            Call::new(CLIENT, "BulkLoadHFile", &request)
        };
        let (location, reply) = self.call_row_for(&mut retry, row, Retry::remaining, build).await?;
        let answer: pb::BulkLoadHFileResponse = reply.decode().map_err(|cause| retry.fail_in_doubt(cause))?;
        if !answer.loaded {
            self.locations.forget(&location);
            return Ok(RegionLoaded::BordersChanged);
        }
        let done = RegionLoaded::Done(answer.cells());
        Ok(if answer.before() { RegionLoaded::Before } else { done })
    }

    /// Deletes what is left in a room.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn cleanup_bulk_load(&self, room: &LoadRoom) -> Result<()> {
        let first = Bytes::new();
        let mut retry = self.retry("clean up bulk load", Effect::Repeatable, &first);
        let build = |region| {
            let request = pb::CleanupBulkLoadRequest { bulk_token: room.folder.clone(), region: Some(region) };
            Call::new(CLIENT, "CleanupBulkLoad", &request)
        };
        self.call_row(&mut retry, &first, build).await.map(drop)
    }
}
