-- Runs that task runs made and wait for: one for each try of a task run, however often its attempts are repeated.
create table sub_run (
  run    uuid primary key references run,
  parent uuid not null references run,
  idx    integer not null,
  -- tries of the task run that are spent with the one that made it; a lost worker spends none
  try    integer not null check (try > 0),
  -- the parent's flow and task, as people name them
  flow   text not null,
  task   text not null,
  unique (parent, idx, try)
);

-- Which flows the tasks of current flow versions run, where their names are written down.
create table sub_flow (
  flow  text not null references flow,
  child text not null,
  primary key (flow, child)
);

-- As before, and whoever asked for a run asked for the runs that it makes and waits for.
create or replace function has_asked_for(wanted uuid, who text) returns boolean language sql stable as $$
  with recursive chain as (
    select id, requester, retry_of from run where id = wanted
    union
    select r.id, r.requester, r.retry_of from chain c
    left join sub_run s on s.run = c.id
    join run r on r.id = any (array[c.retry_of, s.parent]))
  select exists (
    select 1 from chain
    where requester = who or requester = (select 'os:' || os_user from person where name = who))
$$;
