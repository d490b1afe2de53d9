//! Parquet over a [`Store`] by ranges of bytes, so that columns, row groups and pages that aren't needed aren't fetched.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, Int64Array};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::{LakeError, Object, Store};

/// Files up to this size are fetched in one request.
const SMALL: u64 = 1 << 20;
/// What is fetched of a large file's end in the hope that it holds all its metadata.
const FOOTER: usize = 64 << 10;
/// Ranges nearer than this are fetched as one.
const GAP: u64 = 64 << 10;

/// A file as Parquet's reader wants it.
pub struct RangeReader {
    store: Store,
    object: Object,
    whole: Option<Bytes>,
    fetched: Arc<AtomicU64>,
}

impl RangeReader {
    /// A reader that adds the bytes it fetches to `fetched`.
    pub fn new(store: Store, object: Object, fetched: Arc<AtomicU64>) -> Self {
        Self {
            store,
            object,
            whole: None,
            fetched,
        }
    }

    async fn fetch(&mut self, range: Range<u64>) -> ParquetResult<Bytes> {
        if self.object.size <= SMALL && self.whole.is_none() {
            let all = self
                .store
                .range(&self.object.key, 0..self.object.size)
                .await
                .map_err(external)?;
            self.fetched.fetch_add(all.len() as u64, Ordering::Relaxed);
            self.whole = Some(all);
        }
        if let Some(whole) = &self.whole {
            let (start, end) = (range.start as usize, range.end as usize);
            let inside = start <= end && end <= whole.len();
            return if inside {
                Ok(whole.slice(start..end))
            } else {
                Err(ParquetError::EOF("file ends early".into()))
            };
        }
        let bytes = self
            .store
            .range(&self.object.key, range.clone())
            .await
            .map_err(external)?;
        self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let full = bytes.len() as u64 == range.end - range.start;
        if full {
            Ok(bytes)
        } else {
            Err(ParquetError::EOF("the store sent fewer bytes than asked".into()))
        }
    }
}

fn external(error: LakeError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Joins ranges that are near each other.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|r| r.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match out.last_mut() {
            Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

impl AsyncFileReader for RangeReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.fetch(range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let blocks = joined(&ranges);
            let one = |range: Range<u64>| {
                let mut reader = Self {
                    store: self.store.clone(),
                    object: self.object.clone(),
                    whole: self.whole.clone(),
                    fetched: self.fetched.clone(),
                };
                async move { reader.fetch(range).await }
            };
            let fetched: Vec<Bytes> = stream::iter(blocks.clone())
                .map(one)
                .buffered(8)
                .try_collect()
                .await?;
            let cut = |range: &Range<u64>| {
                let at = blocks.partition_point(|b| b.start <= range.start) - 1;
                let start = (range.start - blocks[at].start) as usize;
                fetched[at].slice(start..start + (range.end - range.start) as usize)
            };
            Ok(ranges.iter().map(cut).collect())
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.object.size;
            let reader = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(FOOTER))
                .with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// Microseconds since 1970: from, inclusive, to, exclusive.
pub type Window = Range<i64>;

/// The batches of a file that may hold rows of the window. `None`: its statistics say that it holds none.
pub async fn scan(
    reader: RangeReader,
    columns: &[&str],
    window: &Window,
) -> Result<Option<ParquetRecordBatchStream<RangeReader>>, LakeError> {
    let file = reader.store.show(&reader.object.key);
    let failed = |source| LakeError::Parquet {
        file: file.clone(),
        source,
    };
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
        .await
        .map_err(failed)?;
    for column in columns {
        if builder.schema().field_with_name(column).is_err() {
            let message = format!(
                "has no column `{column}`; an event lake has {}",
                columns.join(", ")
            );
            return Err(LakeError::Column { file, message });
        }
    }
    let metadata = ArrowReaderMetadata::try_new(builder.metadata().clone(), ArrowReaderOptions::new())
        .map_err(failed)?;
    let Some((groups, selection)) = prune(&metadata, window).map_err(failed)? else {
        return Ok(None);
    };
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let builder = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_batch_size(8192);
    let builder = match selection {
        Some(selection) => builder.with_row_selection(selection),
        None => builder,
    };
    builder.build().map(Some).map_err(failed)
}

type Pruned = Option<(Vec<usize>, Option<RowSelection>)>;

/// Row groups that may hold rows of the window and, where pages tell more, which of their rows.
fn prune(metadata: &ArrowReaderMetadata, window: &Window) -> ParquetResult<Pruned> {
    let file = metadata.metadata();
    let converter = StatisticsConverter::try_new("ts", metadata.schema(), metadata.parquet_schema())?;
    let low = micros(&converter.row_group_mins(file.row_groups())?)?;
    let high = micros(&converter.row_group_maxes(file.row_groups())?)?;
    let groups: Vec<usize> = (0..file.num_row_groups())
        .filter(|at| overlaps(&low, &high, *at, window))
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let (Some(columns), Some(offsets)) = (file.column_index(), file.offset_index()) else {
        return Ok(Some((groups, None)));
    };
    let low = micros(&converter.data_page_mins(columns, offsets, &groups)?)?;
    let high = micros(&converter.data_page_maxes(columns, offsets, &groups)?)?;
    let Some(counts) = converter.data_page_row_counts(offsets, file.row_groups(), &groups)? else {
        return Ok(Some((groups, None)));
    };
    let total: u64 = counts.iter().flatten().sum();
    let mut at = 0;
    let mut ranges = Vec::new();
    for (page, count) in counts.iter().enumerate() {
        let count = count.unwrap_or(0) as usize;
        if overlaps(&low, &high, page, window) {
            ranges.push(at..at + count);
        }
        at += count;
    }
    Ok(Some((
        groups,
        Some(RowSelection::from_consecutive_ranges(
            ranges.into_iter(),
            total as usize,
        )),
    )))
}

fn micros(values: &arrow::array::ArrayRef) -> ParquetResult<Int64Array> {
    let unit = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let cast = arrow::compute::cast(values, &unit)
        .and_then(|v| arrow::compute::cast(&v, &arrow::datatypes::DataType::Int64))?;
    cast.as_any()
        .downcast_ref()
        .cloned()
        .ok_or_else(|| ParquetError::General("`ts` is no timestamp".into()))
}

/// Unknown bounds may hold anything.
fn overlaps(low: &Int64Array, high: &Int64Array, at: usize, window: &Window) -> bool {
    low.is_null(at) || high.is_null(at) || (low.value(at) < window.end && high.value(at) >= window.start)
}
