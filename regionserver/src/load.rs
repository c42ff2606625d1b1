//! Bulk loads: files below the data root become a region's own (hbase-wire.md §2.7).

use bytes::Bytes;
use md5::{Digest, Md5};
use model::ErrorKind;
use protocol::messages as pb;
use protocol::service::{Call, Reply, RpcError};
use storage::StorageError;
use storage::collect::{STAGING, staging_name};
use storage::region::{BulkLoad, LoadFile};

use crate::errors;
use crate::server::RegionServer;

impl RegionServer {
    /// Names a folder in which a client may gather files.
    pub(crate) fn prepare_bulk_load(&self, call: &Call) -> Result<Reply, RpcError> {
        let _: pb::PrepareBulkLoadRequest = call.decode()?;
        let runtime = &self.ctx.region.runtime;
        let bulk_token = format!("{STAGING}/{}", staging_name(runtime.clock.now_ms(), &*runtime.random));
        Ok(Reply::new(&pb::PrepareBulkLoadResponse { bulk_token, root_url: self.ctx.settings.root_url.clone() }))
    }

    pub(crate) async fn bulk_load(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::BulkLoadHFileRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        if request.copy_file() {
            // Ours are moved; a copy that the region's server made would have to lie below the root as well.
            return Err(RpcError::invalid("copy_file is not supported: copy the files below the data root first"));
        }
        let id = load_id(&request);
        let file = |file: pb::bulk_load_h_file_request::FamilyPath| {
            Ok(LoadFile { family: file.family, path: self.key_of(&file.path)? })
        };
        let verify = request.verify();
        let files = request.family_path.into_iter().map(file).collect::<Result<Vec<_>, RpcError>>()?;
        let answer = match hosted.region.bulk_load(BulkLoad { id, files, verify }).await {
            Ok(done) => {
                if !done.before {
                    self.counts.loads.add(1);
                    self.counts.loaded_files.add(done.files as u64);
                    self.arc().want_compactions(&hosted);
                }
                pb::BulkLoadHFileResponse { loaded: true, before: Some(done.before), cells: Some(done.cells) }
            }
            // The region's borders are not what the client took them for: it groups the files anew.
            Err(StorageError::WrongRegion { row, region }) => {
                tracing::debug!(row, region, "a file of a bulk load reaches beyond its region");
                pb::BulkLoadHFileResponse { loaded: false, before: None, cells: None }
            }
            // The caller's files are damaged, and nothing of ours.
            Err(error @ (StorageError::Corrupt { .. } | StorageError::Newer { .. })) => {
                return Err(RpcError::invalid(error.to_string()));
            }
            Err(error) => return Err(self.failure(&hosted, error)),
        };
        Ok(Reply::new(&answer))
    }

    /// Deletes what is left in a folder that [`RegionServer::prepare_bulk_load`] named.
    pub(crate) async fn cleanup_bulk_load(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::CleanupBulkLoadRequest = call.decode()?;
        let name = request.bulk_token.strip_prefix(STAGING).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.filter(|name| storage::collect::staged_at(name).is_some()) else {
            let message = format!("bulk token `{}` is none that this cluster gave", request.bulk_token);
            return Err(RpcError::invalid(message));
        };
        let cleared = storage::collect::clear_staging(&self.ctx.region.fs, name).await;
        self.counts.collected(&cleared.map_err(errors::storage)?);
        Ok(Reply::new(&pb::CleanupBulkLoadResponse {}))
    }

    /// The key below the data root that a path or a URL means.
    fn key_of(&self, path: &str) -> Result<String, RpcError> {
        let path = path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path);
        let below = self.ctx.settings.root_url.as_deref().and_then(|root| path.strip_prefix(root));
        match below.and_then(|rest| rest.strip_prefix('/')) {
            Some(key) => Ok(key.to_owned()),
            None if !path.starts_with('/') && !path.contains("://") => Ok(path.to_owned()),
            None => {
                let root = self.ctx.settings.root_url.as_deref().unwrap_or("this server's");
                let message = format!("file `{path}` does not lie below the data root {root}; copy it there first");
                Err(RpcError::new(ErrorKind::Invalid, message))
            }
        }
    }
}

/// What a region remembers a load by. HBase's clients give none: a call that they repeat names the same files.
fn load_id(request: &pb::BulkLoadHFileRequest) -> String {
    if let Some(id) = &request.load_id {
        return id.clone();
    }
    let mut files: Vec<(&Bytes, &str)> =
        request.family_path.iter().map(|file| (&file.family, file.path.as_str())).collect();
    files.sort_unstable();
    let mut digest = Md5::new();
    for part in std::iter::once(request.bulk_token().as_bytes())
        .chain(files.into_iter().flat_map(|(family, path)| [&family[..], path.as_bytes()]))
    {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
