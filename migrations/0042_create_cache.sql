-- What a task made of which inputs: the newest attempt that succeeded with a key. The key is a digest over plugin, version and inputs.
create table cache (
  key   text primary key check (key ~ '^[0-9a-f]{64}$'),
  run   uuid not null,
  idx   integer not null,
  epoch bigint not null,
  at    timestamptz not null
);

-- Task runs that took what an earlier attempt had made.
create table cache_hit (
  run    uuid not null,
  idx    integer not null,
  key    text not null,
  origin uuid not null,
  primary key (run, idx)
);

-- The run makes everything anew, whatever lies there.
alter table run add column no_cache boolean not null default false;
