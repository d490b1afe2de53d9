-- What people are to be told, written with what it tells of, delivered by a courier afterwards: at least once.
-- `key` is what is told once: RUN/EVENT/CHANNEL, RUN/TASK/CHANNEL of the `notify` plugin.
create table notice (
  id         uuid primary key,
  key        text not null unique,
  channel    text not null,
  event      text not null,
  flow       text not null,
  run        uuid not null references run,
  body       jsonb not null,
  state      text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
  tries      integer not null default 0,
  -- of a pending one: when it is tried next
  due_at     timestamptz not null,
  error      text,
  created_at timestamptz not null,
  ended_at   timestamptz,
  check ((state = 'pending') = (ended_at is null))
);
create index notice_due on notice (due_at) where state = 'pending';
create index notice_by_run on notice (run);

-- The channels that servers know, as their configuration says; those not seen for a day are gone.
create table channel (
  name    text primary key,
  kind    text not null,
  seen_at timestamptz not null
);
