-- What goes first is fixed when it becomes ready: `rank` is the due instant, earlier by a minute for each point of priority. A point is
-- worth a minute of waiting, whatever else comes meanwhile, so nothing waits for ever and no row is ever touched to age it.
drop index ready_in_order;
alter table ready add column rank timestamptz, add column pool text;
update ready set rank = at - priority * interval '1 minute';
alter table ready alter column rank set not null, drop column priority;
create index ready_in_order on ready (queue, rank, run, idx) where pool is null;
-- What wants a slot lies apart: where there is none, nobody who claims other things walks over it.
create index ready_of_pool on ready (pool, rank, run, idx) where pool is not null;

-- A limit on how many task runs of all flows run at once.
create table pool (
  name       text primary key,
  size       integer not null check (size between 0 and 10000),
  updated_at timestamptz not null,
  updated_by text not null
);

-- One row a slot: free, or held by an attempt. It changes hands in the transaction that begins or ends the attempt, so it is never
-- counted and never leaks. Slots numbered above the pool's size are given to nobody any more.
create table slot (
  pool  text not null references pool,
  no    integer not null check (no > 0),
  run   uuid,
  idx   integer,
  epoch bigint,
  primary key (pool, no),
  check ((run is null) = (idx is null) and (run is null) = (epoch is null))
) with (fillfactor = 70);
create unique index slot_by_holder on slot (run, idx) where run is not null;

-- Since when a worker takes nothing any more and lets what it runs come to an end.
alter table worker add column draining_at timestamptz;
