-- Workers take light work (inline plugins) in hundreds, and processes by their slots: claims tell them apart.
alter table ready add column light boolean not null default false;
drop index ready_in_order;
create index ready_in_order on ready (queue, light, rank, run, idx) where pool is null;
