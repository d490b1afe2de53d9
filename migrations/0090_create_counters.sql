-- Sums of what happened, for machines that watch. A scheduler adds to them afterwards (`store/counts.rs`): who moves runs counts nothing.

-- One series each; a distribution is a row for each bucket and one for its sum, told by the last label.
create table counter (
  name   text not null,
  labels jsonb not null,
  value  double precision not null,
  primary key (name, labels)
) with (fillfactor = 50);

-- Up to which event a run is counted. Its row goes once it is over and the head has passed it.
create table counting (
  run  uuid primary key,
  seq  bigint not null default 0,
  done boolean not null default false
) with (fillfactor = 70);

-- Every run up to here is in `counting`, or is counted.
create table counting_head (
  one boolean primary key default true check (one),
  run uuid not null
);
insert into counting_head (run) values ('00000000-0000-0000-0000-000000000000');

-- Attempts that were begun, as far as their run is counted, and not ended.
create table counting_attempt (
  run uuid not null,
  idx integer not null,
  at  timestamptz not null,
  primary key (run, idx)
);

-- Rows that are written once say for themselves whether they are counted. The indexes hold only those that are not yet.
alter table tick add column counted boolean not null default false;
create index tick_uncounted on tick (flow, schedule, scheduled_for) where outcome = 'skipped' and not counted;
alter table gate_result add column counted boolean not null default false;
create index gate_result_uncounted on gate_result (run, idx, epoch) where not counted;
alter table approval add column counted boolean not null default false;
create index approval_uncounted on approval (id) where state <> 'open' and not counted;
alter table alias_move add column counted boolean not null default false;
create index alias_move_uncounted on alias_move (model, alias, number) where not counted;
