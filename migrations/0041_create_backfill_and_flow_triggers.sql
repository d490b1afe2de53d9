-- Runs made for past ticks, one for each tick however often it is asked for. They queue among themselves: a backfill takes no place
-- of the runs that are due.
create table backfill (
  flow          text not null,
  schedule      text not null,
  scheduled_for timestamptz not null,
  run           uuid not null unique references run,
  max_active    integer check (max_active > 0),
  primary key (flow, schedule, scheduled_for)
);

-- What current flow versions wait for: the end of a run of `source` in one of `states`.
create table flow_trigger (
  flow   text not null references flow,
  source text not null,
  states text[] not null,
  primary key (flow, source)
);
create index flow_trigger_by_source on flow_trigger (source);

-- Runs that ended and that a trigger waits for; a row is gone once its followers are made.
create table ended_run (
  run   uuid primary key references run,
  flow  text not null,
  state text not null
);

-- Which run followed which: one of a flow for each run that it waits for.
create table followed (
  source uuid not null references run,
  flow   text not null,
  run    uuid not null references run,
  primary key (source, flow)
);
