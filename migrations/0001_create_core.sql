-- Flows, runs, task runs and what moves them. Hot tables are narrow, without an index on what changes often.

create type run_state as enum
  ('queued', 'running', 'waiting', 'cancelling', 'succeeded', 'failed', 'rejected', 'cancelled');
create type task_state as enum
  ('blocked', 'ready', 'waiting', 'running', 'backoff', 'succeeded', 'failed', 'rejected', 'skipped', 'cancelled');

create table flow (
  name       text primary key,
  version    text not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  removed_at timestamptz
);

create table flow_version (
  hash       text primary key check (hash ~ '^[0-9a-f]{64}$'),
  flow       text not null references flow,
  number     bigint not null,
  path       text not null,
  source     text not null,
  definition json not null,
  created_at timestamptz not null,
  created_by text not null,
  unique (flow, number)
);

create table schedule (
  flow           text not null references flow,
  name           text not null,
  spec           jsonb not null,
  -- every tick up to here has its outcome; never moves back
  cursor_at      timestamptz not null,
  effective_from timestamptz not null,
  next_at        timestamptz,
  paused_at      timestamptz,
  error          text,
  primary key (flow, name)
);

-- One row for each due instant, or one for a range of instants that were skipped for one reason.
create table tick (
  flow          text not null,
  schedule      text not null,
  scheduled_for timestamptz not null,
  last          timestamptz not null,
  count         bigint not null default 1 check (count > 0),
  outcome       text not null check (outcome in ('run', 'skipped')),
  reason        text check ((outcome = 'skipped') = (reason is not null)),
  run           uuid check ((outcome = 'run') = (run is not null)),
  at            timestamptz not null,
  primary key (flow, schedule, scheduled_for),
  check (last >= scheduled_for)
);

create table run (
  id              uuid primary key,
  flow            text not null references flow,
  version         text not null references flow_version,
  state           run_state not null,
  reason          text,
  trigger         text not null,
  requester       text not null,
  retry_of        uuid,
  schedule        text,
  scheduled_for   timestamptz,
  params          jsonb not null,
  created_at      timestamptz not null,
  started_at      timestamptz,
  finished_at     timestamptz,
  waiting_since   timestamptz,
  waited          interval not null default '0',
  -- next event number; task runs not terminal; those of them that can move by themselves; ends seen, as bits
  next_seq        bigint not null default 1,
  open            integer not null check (open >= 0),
  active          integer not null check (active between 0 and open),
  seen            smallint not null default 0,
  check ((state in ('succeeded', 'failed', 'rejected', 'cancelled')) = (finished_at is not null)),
  check (finished_at is null or open = 0)
) with (fillfactor = 70);
create index run_by_flow on run (flow, id desc);
create unique index run_by_tick on run (flow, schedule, scheduled_for) where schedule is not null;

-- The runs that are not terminal: what loops walk instead of an index on run.state.
create table active_run (
  run  uuid primary key references run,
  flow text not null
);
create index active_run_by_flow on active_run (flow);

create table task_run (
  run         uuid not null references run,
  idx         integer not null,
  state       task_state not null,
  reason      text,
  unmet       integer not null check (unmet >= 0),
  seen        smallint not null default 0,
  epoch       bigint not null default 0,
  attempt     integer not null default 0,
  lost        integer not null default 0,
  -- the approval that opened its gate
  opened_by   uuid,
  started_at  timestamptz,
  finished_at timestamptz,
  primary key (run, idx),
  check ((state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled')) = (finished_at is not null))
) with (fillfactor = 70);

-- What may be claimed. Rows are inserted and deleted, never updated.
create table ready (
  queue    text not null,
  priority integer not null,
  at       timestamptz not null,
  run      uuid not null,
  idx      integer not null,
  primary key (run, idx)
);
create index ready_in_order on ready (queue, priority desc, at, run, idx);

-- What runs now, and until when its worker may hold it. `until` is not indexed: the table is as small as the workers are few.
create table lease (
  run      uuid not null,
  idx      integer not null,
  epoch    bigint not null,
  worker   uuid not null,
  until    timestamptz not null,
  progress jsonb,
  primary key (run, idx)
) with (fillfactor = 70);

create table worker (
  id           uuid primary key,
  name         text not null,
  version      text not null,
  queues       text[] not null,
  slots        integer not null check (slots > 0),
  started_at   timestamptz not null,
  heartbeat_at timestamptz not null,
  stopped_at   timestamptz
) with (fillfactor = 70);

-- Who plans ahead and cleans up; one that was heard of lately makes the service ready.
create table scheduler (
  id           uuid primary key,
  heartbeat_at timestamptz not null
) with (fillfactor = 70);

create table task_output (
  run     uuid not null,
  idx     integer not null,
  epoch   bigint not null,
  outputs jsonb not null,
  primary key (run, idx)
);

create table artifact (
  run    uuid not null,
  idx    integer not null,
  epoch  bigint not null,
  name   text not null,
  uri    text not null,
  size   bigint not null check (size >= 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  at     timestamptz not null,
  primary key (run, idx, epoch, name)
);

create table metric (
  run   uuid not null,
  idx   integer not null,
  epoch bigint not null,
  name  text not null,
  step  bigint not null,
  value double precision not null check (value not in ('NaN', 'Infinity', '-Infinity')),
  at    timestamptz not null,
  primary key (run, idx, epoch, name, step)
);

-- Append-only. `day` is the day the run was created on (its id says so): a run's events lie in one partition.
create table event (
  day  date not null,
  run  uuid not null,
  seq  bigint not null,
  kind text not null,
  idx  integer[] not null,
  at   timestamptz not null,
  data jsonb,
  primary key (day, run, seq)
) partition by range (day);

create table log (
  day   date not null,
  run   uuid not null,
  idx   integer not null,
  epoch bigint not null,
  seq   bigint not null,
  at    timestamptz not null,
  level text not null,
  text  text not null,
  primary key (day, run, idx, epoch, seq)
) partition by range (day);

-- Makes the daily partitions from `first` on, `days` of them. Safe to repeat, safe beside another caller. A table that is attached
-- stops no writer of another day, one that is created as a partition would. There is no default partition: with one, old
-- days could not be detached beside writers.
create function ensure_partitions(first date, days integer) returns void language plpgsql as $$
declare
  d date;
  base text;
  part text;
begin
  perform pg_advisory_xact_lock(7368, 1);
  for d in select first + i from generate_series(0, days - 1) as i loop
    foreach base in array array['event', 'log'] loop
      part := base || '_' || to_char(d, 'YYYYMMDD');
      if to_regclass(part) is null then
        execute format('create table %I (like %I including all)', part, base);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)', base, part, d, d + 1);
      end if;
    end loop;
  end loop;
end $$;
