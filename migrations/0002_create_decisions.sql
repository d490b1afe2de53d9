-- Approvals, the ledger, models, people, idempotency.

create type approval_state as enum ('open', 'approved', 'rejected', 'expired', 'superseded', 'void');

create table approval (
  id              uuid primary key,
  run             uuid not null references run,
  idx             integer not null,
  flow            text not null,
  task            text not null,
  state           approval_state not null default 'open',
  evidence        json not null,
  digest          text not null check (digest ~ '^[0-9a-f]{64}$'),
  message         text,
  requester       text not null,
  by              text[] not null,
  required        integer not null check (required > 0),
  allow_requester boolean not null,
  asked_at        timestamptz not null,
  expires_at      timestamptz not null,
  on_expire       text not null check (on_expire in ('reject', 'fail')),
  remind          interval,
  reminded_at     timestamptz,
  closed_at       timestamptz,
  check ((state = 'open') = (closed_at is null))
);
create unique index approval_open on approval (run, idx) where state = 'open';
create index approval_by_flow on approval (flow, task, asked_at);
create index approval_by_run on approval (run, idx);

-- What a gate came to, each time an attempt reached it; once more in the same attempt when the world moved meanwhile.
create table gate_result (
  run      uuid not null references run,
  idx      integer not null,
  epoch    bigint not null,
  opening  text not null check (opening in ('opens', 'rejected', 'asks')),
  rules    json not null,
  approval uuid references approval,
  at       timestamptz not null,
  primary key (run, idx, epoch),
  check (approval is null or opening = 'asks')
);

create table vote (
  approval uuid not null references approval,
  actor    text not null,
  decision text not null check (decision in ('approve', 'reject')),
  comment  text,
  digest   text not null,
  at       timestamptz not null,
  primary key (approval, actor)
);

-- Append-only and chained: hash = SHA-256 over the fields and the hash before. `body` is canonical JSON, hashed as stored.
create table ledger (
  seq   bigint primary key check (seq > 0),
  at    timestamptz not null,
  kind  text not null,
  actor text not null,
  run   uuid,
  body  text not null,
  prev  text not null,
  hash  text not null unique
);
create index ledger_by_run on ledger (run) where run is not null;
-- The newest entry; whoever appends locks it.
create table ledger_head (
  one  boolean primary key default true check (one),
  seq  bigint not null,
  hash text not null
);
insert into ledger_head (seq, hash) values (0, repeat('0', 64));
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name;
end $$;
create trigger ledger_append_only before update or delete on ledger for each row execute function refuse_change();
create trigger ledger_never_emptied before truncate on ledger for each statement execute function refuse_change();

create table model (
  name       text primary key,
  created_at timestamptz not null
);
create table model_version (
  model        text not null references model,
  version      bigint not null check (version > 0),
  source       text not null,
  sha256       text,
  external_run text,
  facts        jsonb not null,
  run          uuid,
  idx          integer,
  created_at   timestamptz not null,
  primary key (model, version),
  unique (run, idx, model)
);
-- `version` is null while an alias is being set for the first time. The lock belongs to an attempt and dies with its lease.
create table model_alias (
  model      text not null references model,
  alias      text not null,
  version    bigint,
  moved_at   timestamptz,
  lock_run   uuid,
  lock_idx   integer,
  lock_epoch bigint,
  primary key (model, alias),
  foreign key (model, version) references model_version
);
create table alias_move (
  model      text not null,
  alias      text not null,
  number     bigint not null,
  version    bigint not null,
  before     bigint,
  at         timestamptz not null,
  actor      text not null,
  run        uuid,
  idx        integer,
  approval   uuid,
  primary key (model, alias, number)
);
-- A task run moves an alias once; once more when the world moved and people were asked anew.
create unique index alias_move_once on alias_move
  (run, idx, model, alias, (coalesce(approval, '00000000-0000-0000-0000-000000000000')));

create table person (
  name          text primary key,
  password_hash text,
  roles         text[] not null check (roles <@ array['viewer', 'operator', 'approver', 'admin']),
  os_user       text unique,
  created_at    timestamptz not null,
  disabled_at   timestamptz
);

-- Whether somebody asked for a run: triggered it, retried it, or asked for a run that it retries. An account of the operating
-- system and the person who claims it are one.
create function has_asked_for(wanted uuid, who text) returns boolean language sql stable as $$
  with recursive chain as (
    select id, requester, retry_of from run where id = wanted
    union
    select r.id, r.requester, r.retry_of from run r join chain c on r.id = c.retry_of)
  select exists (
    select 1 from chain
    where requester = who or requester = (select 'os:' || os_user from person where name = who))
$$;
-- Four eyes, whatever a program above forgets.
create function refuse_own_vote() returns trigger language plpgsql as $$
begin
  if exists (select 1 from approval a
             where a.id = new.approval and not a.allow_requester and has_asked_for(a.run, new.actor)) then
    raise exception '% asked for the run and cannot decide on it', new.actor using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger vote_four_eyes before insert or update on vote for each row execute function refuse_own_vote();

create table session (
  token_sha256 text primary key,
  person       text not null references person,
  csrf         text not null,
  created_at   timestamptz not null,
  seen_at      timestamptz not null,
  expires_at   timestamptz not null
);
create index session_by_person on session (person);
-- Sign-ins that did not succeed, by SHA-256 of the name that was typed: known names and unknown ones leave the same trace.
create table sign_in_try (
  name_sha256 text primary key,
  count       integer not null check (count > 0),
  at          timestamptz not null
);

-- The answer to a request that named a key; a repeat gets it again.
create table idempotency (
  scope    text not null,
  actor    text not null,
  key      text not null,
  request  text not null,
  response jsonb not null,
  at       timestamptz not null,
  primary key (scope, actor, key)
);
