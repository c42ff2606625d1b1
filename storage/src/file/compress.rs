//! Block compression in Hadoop's framings (gzip members; block streams for LZ4, ZSTD and SNAPPY). No I/O.

use std::io::{Read, Write};

use model::schema::Compression;

/// Largest input of one chunk: readers decompress each chunk into a 256 KiB buffer.
const SNAPPY_LZ4_CHUNK_MAX: usize = 262_144 - (262_144 / 6 + 32);
const ZSTD_CHUNK_MAX: usize = 262_144 - 1024;
const ZSTD_LEVEL: i32 = 1;
/// More bytes than a byte of Snappy, of LZ4 can become: a longer claim is a lie, and allocates nothing.
const SNAPPY_RATIO_MAX: usize = 64;
const LZ4_RATIO_MAX: usize = 256;
/// What a block may claim to become before memory is given for it as it comes only.
const TRUSTED_BYTES_MAX: usize = 4 << 20;

/// The code in the trailer.
pub fn code(compression: Compression) -> u32 {
    match compression {
        Compression::Gz => 1,
        Compression::None => 2,
        Compression::Snappy => 3,
        Compression::Lz4 => 4,
        Compression::Zstd => 6,
    }
}

/// The compression of a trailer's code, or the name of one that is not supported.
pub fn from_code(code: u32) -> Result<Compression, String> {
    match code {
        1 => Ok(Compression::Gz),
        2 => Ok(Compression::None),
        3 => Ok(Compression::Snappy),
        4 => Ok(Compression::Lz4),
        6 => Ok(Compression::Zstd),
        0 => Err("LZO".to_owned()),
        5 => Err("BZIP2".to_owned()),
        7 => Err("LZMA".to_owned()),
        8 => Err("BROTLI".to_owned()),
        other => Err(format!("unknown compression {other}")),
    }
}

fn chunk(compression: Compression, data: &[u8]) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(data).map_err(std::io::Error::other),
        Compression::Lz4 => Ok(lz4_flex::block::compress(data)),
        Compression::Zstd => zstd::bulk::compress(data, ZSTD_LEVEL),
        Compression::None | Compression::Gz => unreachable!("not block streams"),
    }
}

/// Compresses a block's body.
pub fn compress(compression: Compression, data: &[u8]) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(data.to_vec()),
        Compression::Gz => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(data)?;
            encoder.finish()
        }
        Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            let most = if compression == Compression::Zstd { ZSTD_CHUNK_MAX } else { SNAPPY_LZ4_CHUNK_MAX };
            let mut out = (data.len() as u32).to_be_bytes().to_vec();
            for part in data.chunks(most) {
                let packed = chunk(compression, part)?;
                out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                out.extend_from_slice(&packed);
            }
            if data.len() > most {
                out.extend_from_slice(&[0; 4]);
            }
            Ok(out)
        }
    }
}

/// Decompresses a block's body to exactly `len` bytes.
pub fn decompress(compression: Compression, data: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let out = match compression {
        Compression::None => data.to_vec(),
        Compression::Gz => {
            let mut out = Vec::new();
            flate2::read::GzDecoder::new(data).take(len as u64 + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
            out
        }
        Compression::Zstd if data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => zstd_frame(data, len)?,
        Compression::Snappy | Compression::Lz4 | Compression::Zstd => block_stream(compression, data, len)?,
    };
    if out.len() == len { Ok(out) } else { Err(format!("decompressed to {} bytes instead of {len}", out.len())) }
}

/// Decompresses one frame to at most `most` bytes.
fn zstd_frame(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    if most <= TRUSTED_BYTES_MAX {
        return zstd::bulk::decompress(data, most).map_err(|e| e.to_string());
    }
    let (mut out, text) = (Vec::new(), |e: std::io::Error| e.to_string());
    let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(text)?;
    decoder.take(most as u64 + 1).read_to_end(&mut out).map_err(text)?;
    Ok(out)
}

fn block_stream(compression: Compression, mut data: &[u8], len: usize) -> Result<Vec<u8>, String> {
    fn take_len(data: &mut &[u8]) -> Result<usize, String> {
        let (head, rest) = data.split_first_chunk::<4>().ok_or("a length is cut short")?;
        *data = rest;
        Ok(u32::from_be_bytes(*head) as usize)
    }
    let mut out: Vec<u8> = Vec::new();
    while out.len() < len {
        let group = take_len(&mut data)?;
        if group == 0 || group > len - out.len() {
            return Err(format!("a group of {group} bytes does not fit the block"));
        }
        let end = out.len() + group;
        while out.len() < end {
            let packed_len = take_len(&mut data)?;
            if packed_len > data.len() {
                return Err("a chunk is cut short".to_owned());
            }
            let (packed, rest) = data.split_at(packed_len);
            data = rest;
            let room = end - out.len();
            let part = match compression {
                Compression::Snappy => {
                    let size = snap::raw::decompress_len(packed).map_err(|e| e.to_string())?;
                    if size > room || size > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
                        return Err("a chunk is larger than it can be".to_owned());
                    }
                    snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| e.to_string())?
                }
                Compression::Lz4 => {
                    let most = room.min(packed.len().saturating_mul(LZ4_RATIO_MAX));
                    lz4_flex::block::decompress(packed, most).map_err(|e| e.to_string())?
                }
                _ => zstd_frame(packed, room)?,
            };
            if part.is_empty() || part.len() > room {
                return Err("a chunk does not fit its group".to_owned());
            }
            out.extend_from_slice(&part);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_gives_back_what_it_took() {
        let text: Vec<u8> = (0..700_000u32).flat_map(|n| (n / 7 % 251).to_le_bytes()).collect();
        for compression in
            [Compression::None, Compression::Gz, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            for len in [0, 1, 1000, 218_422, 218_423, 600_000] {
                let packed = compress(compression, &text[..len]).expect("compress");
                assert_eq!(
                    decompress(compression, &packed, len).expect("decompress"),
                    &text[..len],
                    "{compression:?} {len}"
                );
                assert!(decompress(compression, &packed, len + 1).is_err());
            }
        }
    }
}
