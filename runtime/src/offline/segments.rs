//! What a file of the store holds behind its header: encrypted segments, written and read one after another.
//!
//! XChaCha20-Poly1305 in the STREAM construction [HRRV15, Section 7]: every segment has a tag, which binds it to
//! its place, to whether it is the last, and to the header. So what was read so far is authentic, though the
//! file was not read to its end.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32};
use heq_ir::plan::{PREPARED_NONCE_BYTES, PREPARED_SEGMENT_BYTES, PREPARED_TAG_BYTES};
use std::fs::File;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// Part of the nonce that is drawn for a file; the rest is place and end.
pub(super) type Nonce = [u8; PREPARED_NONCE_BYTES];

/// A file that is being written.
pub(crate) struct SegmentWriter {
    file: File,
    encryptor: EncryptorBE32<XChaCha20Poly1305>,
    header: Vec<u8>,
    /// What is not written yet: at most a segment.
    segment: Zeroizing<Vec<u8>>,
}

impl SegmentWriter {
    /// Writes header and nonce. A nonce serves one file.
    pub(super) fn start(
        mut file: File,
        cipher: &XChaCha20Poly1305,
        header: &[u8],
        nonce: &Nonce,
    ) -> io::Result<Self> {
        file.write_all(header)?;
        file.write_all(nonce)?;
        let encryptor = EncryptorBE32::from_aead(cipher.clone(), nonce.into());
        // It never grows, so that no copy is left behind.
        let segment = Vec::with_capacity(PREPARED_SEGMENT_BYTES + PREPARED_TAG_BYTES);
        Ok(Self { file, encryptor, header: header.to_vec(), segment: Zeroizing::new(segment) })
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.segment.len() == PREPARED_SEGMENT_BYTES {
                let encrypted =
                    self.encryptor.encrypt_next_in_place(&self.header, &mut *self.segment);
                encrypted.map_err(|_| io::ErrorKind::FileTooLarge)?;
                self.file.write_all(&self.segment)?;
                self.segment.clear();
            }
            let room = PREPARED_SEGMENT_BYTES - self.segment.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.segment.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    /// Writes what is left, to disk with all before.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let encrypted = self.encryptor.encrypt_last_in_place(&self.header, &mut *self.segment);
        encrypted.map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.file.write_all(&self.segment)?;
        self.file.sync_all()
    }
}

/// A file that is being read.
pub(crate) struct SegmentReader {
    file: File,
    /// None after the last segment.
    decryptor: Option<DecryptorBE32<XChaCha20Poly1305>>,
    header: Vec<u8>,
    /// The segment that is read now.
    segment: Zeroizing<Vec<u8>>,
    /// What of it was read.
    place: usize,
    /// Bytes of later segments, without tags.
    left: usize,
}

impl SegmentReader {
    /// Reads header and nonce of a file that holds `length` bytes; none if the header is not `header`.
    pub(super) fn start(
        mut file: File,
        cipher: &XChaCha20Poly1305,
        header: &[u8],
        length: usize,
    ) -> io::Result<Self> {
        let mut found = vec![0; header.len()];
        let mut nonce: Nonce = [0; PREPARED_NONCE_BYTES];
        file.read_exact(&mut found)?;
        file.read_exact(&mut nonce)?;
        if found != header {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let decryptor = DecryptorBE32::from_aead(cipher.clone(), (&nonce).into());
        let segment = Zeroizing::new(Vec::new());
        let header = header.to_vec();
        Ok(Self { file, decryptor: Some(decryptor), header, segment, place: 0, left: length })
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if they are not what was written, [`io::ErrorKind::UnexpectedEof`] if
    /// they are not there.
    pub(crate) fn read(&mut self, count: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        let held = self.segment.len() - self.place;
        if count > held.saturating_add(self.left) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(count));
        while bytes.len() < count {
            if self.place == self.segment.len() {
                self.next_segment()?;
            }
            let rest = &self.segment[self.place..];
            let taken = rest.len().min(count - bytes.len());
            bytes.extend_from_slice(&rest[..taken]);
            self.place += taken;
        }
        Ok(bytes)
    }

    fn next_segment(&mut self) -> io::Result<()> {
        let length = self.left.min(PREPARED_SEGMENT_BYTES);
        self.left -= length;
        self.place = 0;
        self.segment.resize(length + PREPARED_TAG_BYTES, 0);
        self.file.read_exact(&mut self.segment)?;
        let mut decryptor = self.decryptor.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        let (header, segment) = (&self.header, &mut *self.segment);
        let opened = if self.left > 0 {
            let opened = decryptor.decrypt_next_in_place(header, segment);
            self.decryptor = Some(decryptor);
            opened
        } else {
            decryptor.decrypt_last_in_place(header, segment)
        };
        opened.map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use super::*;
    use chacha20poly1305::KeyInit;
    use std::io::{Seek, SeekFrom};

    const HEADER: &[u8] = b"header";

    fn written(length: usize, path: &std::path::Path) -> Vec<u8> {
        let cipher = XChaCha20Poly1305::new(&[3; 32].into());
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let nonce = [9; PREPARED_NONCE_BYTES];
        let file = File::create(path).unwrap();
        let mut writer = SegmentWriter::start(file, &cipher, HEADER, &nonce).unwrap();
        bytes.chunks(100_003).for_each(|part| writer.write(part).unwrap());
        writer.finish().unwrap();
        bytes
    }

    fn read(path: &std::path::Path, length: usize, header: &[u8]) -> io::Result<Vec<u8>> {
        let cipher = XChaCha20Poly1305::new(&[3; 32].into());
        let mut reader = SegmentReader::start(File::open(path)?, &cipher, header, length)?;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let next = reader.read((length - bytes.len()).min(77_777))?;
            bytes.extend_from_slice(&next);
        }
        assert!(reader.read(1).is_err());
        Ok(bytes)
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        const SEGMENT: usize = PREPARED_SEGMENT_BYTES;
        for length in [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5] {
            let bytes = written(length, &path);
            let size = std::fs::metadata(&path).unwrap().len() as usize;
            let tags = length.div_ceil(SEGMENT) * PREPARED_TAG_BYTES;
            assert_eq!(size, HEADER.len() + PREPARED_NONCE_BYTES + length + tags);
            assert!(read(&path, length, HEADER).unwrap() == bytes, "{length}");
            assert!(read(&path, length, b"hfader").is_err());
            // A file cut after a segment is no shorter file.
            if length > SEGMENT {
                assert!(read(&path, SEGMENT, HEADER).is_err());
            }
            for place in [HEADER.len() + 2, size / 2, size - 1] {
                let mut file = File::options().read(true).write(true).open(&path).unwrap();
                let mut byte = [0];
                file.seek(SeekFrom::Start(place as u64)).unwrap();
                file.read_exact(&mut byte).unwrap();
                file.seek(SeekFrom::Start(place as u64)).unwrap();
                file.write_all(&[byte[0] ^ 4]).unwrap();
                assert!(read(&path, length, HEADER).is_err(), "{length} at {place}");
                file.seek(SeekFrom::Start(place as u64)).unwrap();
                file.write_all(&byte).unwrap();
            }
        }
    }
}
