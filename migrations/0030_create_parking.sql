-- What a parked task run remembers for its next look. `spent` says for which of its tries: what an earlier one left is void.
create table parking (
  run    uuid not null,
  idx    integer not null,
  spent  integer not null,
  memory jsonb not null,
  primary key (run, idx)
);
