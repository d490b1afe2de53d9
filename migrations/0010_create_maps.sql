-- Tasks that run once for each item of a list. Their items are task runs of the same run, at positions beyond those of the graph.

-- Under `max_parallel`: no item below the cursor is blocked any more.
create table map_run (
  run    uuid not null,
  idx    integer not null,
  cursor integer not null check (cursor >= 0),
  primary key (run, idx)
) with (fillfactor = 70);

-- What each item runs for. The attempt of the run that this one retries which succeeded for the same item: carried over if the
-- list still says so when the map expands.
create table map_item (
  run          uuid not null,
  idx          integer not null,
  item         jsonb not null,
  done_epoch   bigint,
  done_attempt integer,
  primary key (run, idx),
  check ((done_epoch is null) = (done_attempt is null))
);
