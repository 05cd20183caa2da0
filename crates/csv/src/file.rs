//! Reading a CSV file: encoding, delimiter, header, bounds. Nothing here knows a record type.

use aisha_kernel::{Error, FieldError};
use csv::{ByteRecord, Reader, ReaderBuilder};
use std::{
    fs::File,
    io::{BufReader, Chain, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Most columns in a file.
pub const MAX_COLUMNS: usize = 500;
/// Longest cell, in bytes. A quote that is never closed turns the rest of the file into one cell.
pub const MAX_CELL: usize = 200_000;
/// Read after the last line of a file: a quote that is never closed swallows it.
const END: &str = "\nend of file \u{1}\n";

/// A file that has been looked through once.
#[derive(Debug, Clone)]
pub struct CsvFile {
    path: PathBuf,
    delimiter: u8,
    starts_at: u64,
    /// Column names.
    pub header: Vec<String>,
    /// Rows below the header.
    pub rows: u64,
}

type Input = Chain<BufReader<File>, &'static [u8]>;

fn refuse(message: impl Into<String>) -> Error {
    Error::invalid("file", message)
}

impl CsvFile {
    /// Looks through a file: UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header has
    /// most of. Blocks; call it from a blocking thread.
    ///
    /// # Errors
    /// 422 that says what is wrong and where.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut head = vec![0u8; 64 * 1024];
        let mut file = File::open(path).map_err(Error::internal)?;
        let n = file.read(&mut head).map_err(Error::internal)?;
        head.truncate(n);
        if head.is_empty() {
            return Err(refuse("is empty"));
        }
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) || head.contains(&0) {
            return Err(refuse("is not UTF-8 text: save it as \"CSV UTF-8\""));
        }
        let starts_at = if head.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
        let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
        let count = |d: u8| line.iter().filter(|b| **b == d).count();
        let delimiter = [b',', b';', b'\t'].into_iter().max_by_key(|d| (count(*d), *d == b',')).unwrap_or(b',');
        let mut this = Self { path: path.to_owned(), delimiter, starts_at, header: Vec::new(), rows: 0 };

        let mut reader = this.reader(END)?;
        let mut record = ByteRecord::new();
        let (mut number, mut last, mut ended) = (0u64, 0u64, false);
        while reader.read_byte_record(&mut record).map_err(|e| refuse(format!("cannot be read: {e}")))? {
            if record.len() == 1 && record.get(0) == Some(END.trim_matches('\n').as_bytes()) {
                ended = true;
                break;
            }
            number += 1;
            let line = record.position().map_or(0, csv::Position::line);
            last = line;
            if record.len() > MAX_COLUMNS {
                return Err(refuse(format!("has more than {MAX_COLUMNS} columns in line {line}")));
            }
            if record.iter().any(|cell| cell.len() > MAX_CELL) {
                return Err(refuse(format!(
                    "has a cell of more than {MAX_CELL} bytes in line {line}: is a quote missing?"
                )));
            }
            if std::str::from_utf8(record.as_slice()).is_err() {
                return Err(refuse(format!("is not UTF-8 text in line {line}: save it as \"CSV UTF-8\"")));
            }
            if number == 1 {
                this.header = record.iter().map(|c| String::from_utf8_lossy(c).trim().to_owned()).collect();
            }
        }
        if !ended {
            return Err(refuse(format!("has a quote in line {last} that is never closed")));
        }
        this.rows = number.saturating_sub(1);
        this.check_header()?;
        Ok(this)
    }

    fn check_header(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        for (i, name) in self.header.iter().enumerate() {
            if !name.is_empty() && self.header.iter().take(i).any(|n| n == name) {
                problems.push(FieldError::new("file", format!("has two columns named {name}")));
            }
        }
        if self.header.iter().any(|name| name.contains('\0')) {
            problems.push(FieldError::new("file", "has a NUL character in its header"));
        }
        if self.header.iter().all(String::is_empty) {
            problems.push(FieldError::new("file", "has no header line"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::validation(problems)) }
    }

    fn reader(&self, end: &'static str) -> Result<Reader<Input>, Error> {
        let mut file = File::open(&self.path).map_err(Error::internal)?;
        file.seek(SeekFrom::Start(self.starts_at)).map_err(Error::internal)?;
        Ok(ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(BufReader::with_capacity(256 * 1024, file).chain(end.as_bytes())))
    }

    /// The rows below the header.
    ///
    /// # Errors
    /// 500 when the file is gone.
    pub fn rows(&self) -> Result<Rows, Error> {
        let mut reader = self.reader("")?;
        reader.read_byte_record(&mut ByteRecord::new()).map_err(Error::internal)?;
        Ok(Rows { reader, number: 0 })
    }
}

/// Rows of a file, batch by batch.
pub struct Rows {
    reader: Reader<Input>,
    number: u64,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// 1 for the first row below the header.
    pub number: u64,
    /// The cells.
    pub cells: Vec<String>,
}

impl Rows {
    /// The next rows, at most `max`; empty at the end. Blocks.
    ///
    /// # Errors
    /// 500 when the file cannot be read on.
    pub fn next_batch(&mut self, max: usize) -> Result<Vec<Row>, Error> {
        let mut batch = Vec::with_capacity(max);
        let mut record = ByteRecord::new();
        while batch.len() < max && self.reader.read_byte_record(&mut record).map_err(Error::internal)? {
            self.number += 1;
            let cells = record.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            batch.push(Row { number: self.number, cells });
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Result<CsvFile, Error> {
        let path = std::env::temp_dir().join(format!("aisha-csv-{}", aisha_kernel::new_id()));
        std::fs::write(&path, bytes).unwrap();
        let file = CsvFile::open(&path);
        std::fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn reads_what_spreadsheets_write() {
        let f = open("\u{feff}Name;City\n\"Müller; Söhne\";Köln\nB;\n".as_bytes()).unwrap();
        assert_eq!((f.header, f.rows), (vec!["Name".to_owned(), "City".to_owned()], 2));
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        let wide = format!("{}\n", vec!["a"; 100_000].join(","));
        let unclosed = format!("name\n\"{}\n", "x\n".repeat(200_000));
        for (bytes, why) in [
            (&b""[..], "empty"),
            (b"Name\nM\xfcller\n", "UTF-8 text in line 2"),
            (b"\xff\xfeN\0a\0", "UTF-8"),
            (b"a,a\n1,2\n", "two columns named a"),
            (b" , \n1,2\n", "no header"),
            (wide.as_bytes(), "columns"),
            (unclosed.as_bytes(), "quote"),
        ] {
            let e = open(bytes).unwrap_err();
            assert!(e.details.iter().any(|d| d.message.contains(why)), "{why}: {e:?}");
        }
    }
}
