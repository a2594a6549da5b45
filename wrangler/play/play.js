// Puts a chapter's Worker behind the book: each visitor plays in objects of their own, and nothing of a chapter knows
// of it. `cargo xtask` writes the few lines that name a chapter's classes, and imports this file into them.
//
// The chapter's Worker and its objects get an `env` in which every name of an object has `<visitor>~` before it, and
// see the names without that. It is JavaScript because what has to be wrapped is: the classes that worker-build makes
// take the runtime's own objects, and a Proxy of one is all that Rust does not notice.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

/** How many objects a visitor may have in a chapter at one time. */
const OBJECTS = 50;
/** How large an object may grow before it takes nothing more, in bytes of its database. */
const BYTES = 4_000_000;
/** After how many milliseconds an object that nobody has asked for is emptied; `LIVE_IDLE_MS` says otherwise. */
const IDLE = 3_600_000;
/** Workers KV keeps nothing for less than 60 s. */
const KV_SECONDS = 3_600;
/** How long an invitation is good: so long it has to be known that it was withdrawn. */
const INVITATION = 3_600_000;
/** Prices, as `../src/price.rs` has them: thousand-millionths of a dollar. */
const COST = {
  row: 2000,
  second: 1600,
  keep: 2150,
  alarm: 6050,
  store: 5_000,
  queue: 1_200,
};
/** What a visitor's alarms may cost in a chapter until the visitor asks for something, and how long they wait then. */
const ALARMS = 2_000_000;
const LATER = 600_000;
/** Which objects may stay awake after their answer, and for how many seconds: ch07 shows what keeps one awake. */
const AWAKE = { Lab: 140 };

const idle = (env) => Number(env.LIVE_IDLE_MS ?? IDLE);

/** An answer of ours, not of the chapter. */
const refusal = (why, status, text, headers = {}) =>
  new Response(`${text}\n`, { status, headers: { "Live-Refused": why, ...headers } });

/** One of the runtime's own objects, with something else in place of some of its members. */
const instead = (target, members) => new Proxy(target, {
  get(target, key) {
    if (Object.hasOwn(members, key)) return members[key];
    const value = Reflect.get(target, key);
    // Methods of the runtime want its own object as `this`. Of the constructor, `worker` asks the name.
    return typeof value === "function" && key !== "constructor" ? value.bind(target) : value;
  },
});

/** The id behind one that a chapter sees. */
const real = new WeakMap();
const own = (id) => real.get(id) ?? id;

/** An id as the chapter would see it if nobody else were there. */
function seen(id, name) {
  const view = instead(id, { name, equals: (other) => id.equals(own(other)) });
  real.set(view, id);
  return view;
}

/** Ids that this visitor has made here, by a name or anew. One that was spelt may be anybody's: the keeper knows. */
const made = new WeakSet();

/** A stub that has the visitor's keeper write the object down before it is asked for something. */
const watched = (stub, name, isMade, { visitor, bill, write }) => instead(stub, {
  id: seen(stub.id, name),
  name,
  fetch: async (...args) => {
    const refused = await write(stub.id.toString(), isMade);
    if (refused) return refused;
    // An object without a name does not know whose it is.
    if (name === undefined) {
      args = [new Request(...args)];
      args[0].headers.set("Live-Visitor", visitor);
    }
    const answer = await stub.fetch(...args);
    bill.cost += Number(answer.headers.get("Live-Cost"));
    return answer;
  },
});

/** A namespace in which only this visitor's objects are. */
function namespace(target, player) {
  const { visitor, bill, write } = player;
  const salted = (name) => `${visitor}~${name}`;
  // Whoever is shown an id may come with it later: it is written down whose it is.
  const make = (id, name) => {
    const view = instead(seen(id, name), {
      toString: () => {
        const hex = id.toString();
        bill.waits.push(write(hex, true));
        return hex;
      },
    });
    real.set(view, id);
    made.add(view);
    return view;
  };
  return instead(target, {
    idFromName: (name) => make(target.idFromName(salted(name)), name),
    idFromString: (hex) => seen(target.idFromString(hex)),
    newUniqueId: (...options) => make(target.newUniqueId(...options)),
    get: (id, ...options) => watched(target.get(own(id), ...options), id.name, made.has(id), player),
    getByName: (name, ...options) => watched(target.getByName(salted(name), ...options), name, true, player),
    jurisdiction: (place) => namespace(target.jurisdiction(place), player),
  });
}

/** A namespace of Workers KV in which only this visitor's keys are, and none for long. */
function store(target, { visitor, bill }) {
  const salted = (key) => {
    bill.cost += COST.store;
    return `${visitor}~${key}`;
  };
  return instead(target, {
    get: (key, ...options) => target.get(salted(key), ...options),
    getWithMetadata: (key, ...options) => target.getWithMetadata(salted(key), ...options),
    put: (key, value, options) => target.put(salted(key), value, { ...options, expirationTtl: KV_SECONDS }),
    delete: (key) => target.delete(salted(key)),
    list: () => { throw new Error("the keys of other visitors are nobody's business"); },
  });
}

/** A queue whose messages say whose they are. */
const queue = (target, { visitor, bill }) => instead(target, {
  send: (body, ...options) => {
    bill.cost += COST.queue + COST.store;
    return target.send({ visitor, body }, ...options);
  },
  sendBatch: () => { throw new Error("one message at a time goes through here"); },
});

/** Objects that were written down lately, so that not each request has to ask the keeper. */
const known = new Map();

/** Has the keeper write an object down. Returns the refusal if the visitor may not have it. */
async function write(env, visitor, bill, binding, id, isMade) {
  const key = `${visitor} ${binding} ${id}`;
  const now = Date.now();
  if (now < (known.get(key) ?? 0)) return undefined;
  // The keeper empties what it has not heard of for twice as long.
  if (known.size >= 10_000) known.clear();
  const kept = await env.KEEPER.getByName(visitor).keep(binding, id, isMade);
  if (kept === "alien") return refusal("id", 404, "no object of yours has this id: it is somebody else's, or was empty for long");
  if (kept === "full") {
    return refusal("limit", 429,
      `${OBJECTS} objects are all that you can have here: an object that nobody asks for goes, and Reset empties them`,
      { "Retry-After": String(Math.ceil(idle(env) / 1_000)) });
  }
  bill.cost += kept;
  known.set(key, now + Math.min(60_000, idle(env) / 2));
  return undefined;
}

/** What a chapter sees of its environment on behalf of a visitor, with a bill of what that costs. */
function salted(env, visitor, bill) {
  const members = {};
  for (const [binding, value] of Object.entries(env)) {
    const player = { visitor, bill, write: (id, isMade) => write(env, visitor, bill, binding, id, isMade) };
    const kind = value?.constructor?.name;
    if (kind === "DurableObjectNamespace") members[binding] = namespace(value, player);
    else if (kind === "KvNamespace") members[binding] = store(value, player);
    else if (kind === "WorkerQueue") members[binding] = queue(value, player);
  }
  return instead(env, members);
}

/** An answer that says what it has cost. One with a socket says it later. */
function priced(answer, bill) {
  if (answer.status === 101) return answer;
  const { cost } = bill;
  Object.assign(bill, newBill());
  const copy = new Response(answer.body, answer);
  copy.headers.set("Live-Cost", cost);
  return copy;
}

const newBill = () => ({ cost: 0, waits: [] });

/** The Worker of a chapter, for one visitor at a time. Only the book's front Worker can reach it, and names the visitor. */
export const door = (Chapter) => class extends WorkerEntrypoint {
  async fetch(request) {
    const headers = new Headers(request.headers);
    const [visitor, act, guest] = ["Live-Visitor", "Live-Act", "Live-Guest"].map((name) => headers.get(name));
    if (!visitor) return refusal("visitor", 403, "this Worker answers the book's front door only");
    const keeper = this.env.KEEPER?.getByName(visitor);
    const bill = newBill();
    if (act) {
      bill.cost = await keeper?.[act === "reset" ? "reset" : "restart"]() ?? 0;
      return priced(new Response(act === "reset" ? "reset\n" : "restarted\n"), bill);
    }
    if (guest && await keeper?.withdrew(Number(guest))) {
      return refusal("visitor", 403, "this invitation was withdrawn: ask your host for another");
    }
    headers.delete("Live-Visitor");
    headers.delete("Live-Guest");
    const chapter = new Chapter(this.ctx, salted(this.env, visitor, bill));
    const answer = await chapter.fetch(new Request(request, { headers }));
    const refused = (await Promise.all(bill.waits)).find((refused) => refused);
    return priced(refused ?? answer, bill);
  }

  /** Each message goes to a chapter that sees only what is its sender's. */
  async queue(batch) {
    for (const message of batch.messages) {
      const { visitor, body } = message.body;
      const chapter = new Chapter(this.ctx, salted(this.env, visitor, newBill()));
      await chapter.queue(instead(batch, { messages: [instead(message, { body })] }));
    }
  }
};

/** The class of an object, with one visitor's `ctx` and `env`. */
export function house(Class) {
  class House extends DurableObject {
    constructor(ctx, env) {
      super(ctx, env);
      const [visitor, name] = split(ctx.id.name);
      this.visitor = visitor ?? ctx.id.toString();
      this.bill = newBill();
      this.asked = Date.now();
      this.rows = this.#rows();
      // What an object without a name calls is its own.
      this.inner = new Class(instead(ctx, { id: seen(ctx.id, name) }), salted(env, this.visitor, this.bill));
    }

    async fetch(request) {
      const reads = request.method === "GET" || request.method === "HEAD";
      if (!reads && this.ctx.storage.sql.databaseSize > BYTES) {
        return refusal("size", 507, `this object holds more than ${BYTES} bytes, which is all it can here: Reset empties it`);
      }
      this.visitor = request.headers.get("Live-Visitor") ?? this.visitor;
      // The alarms that had to wait ring now.
      if (this.late) await this.ctx.storage.setAlarm(Date.now());
      this.late = false;
      const answer = await this.inner.fetch(request);
      this.#reckon();
      return priced(answer, this.bill);
    }

    /** Adds what was done since the last time: rows that were written or can have been read, and time awake. */
    #reckon() {
      const [rows, now] = [this.#rows(), Date.now()];
      const seconds = Math.min((now - this.asked) / 1_000, 140) + (AWAKE[Class.name] ?? 0);
      this.bill.cost += Math.ceil(Math.max(rows - this.rows, 0) * COST.row + this.ctx.storage.sql.databaseSize / 64 + seconds * COST.second);
      [this.rows, this.asked] = [rows, now];
    }

    /** How many rows were changed since the database was opened. */
    #rows() {
      return [...this.ctx.storage.sql.exec("SELECT total_changes() AS rows")][0].rows;
    }

    /** An alarm, if there was one, is paid by the visitor's next request. If there was none for long, it has to wait. */
    async rang() {
      this.#reckon();
      const cost = this.bill.cost + COST.alarm;
      this.bill.cost = 0;
      if (!await this.env.KEEPER.getByName(this.visitor).owe(cost)) return;
      const next = await this.ctx.storage.getAlarm();
      if (next === null) return;
      this.late = true;
      await this.ctx.storage.setAlarm(Math.max(next, Date.now() + LATER));
    }

    /** Forgets all that is on disk. Returns what was done here, and that costs something. */
    async empty() {
      for (const socket of this.ctx.getWebSockets()) socket.close(1001, "this object has been emptied");
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
      await this.ctx.storage.sync();
      this.#reckon();
      return this.bill.cost + COST.second;
    }

    /** Forgets all that is in memory. The caller gets an error: the object is gone before it can answer. */
    restart() {
      this.ctx.abort("restarted by its visitor");
    }
  }
  // The runtime looks which handlers a class has.
  for (const handler of ["webSocketMessage", "webSocketClose", "webSocketError"]) {
    if (handler in Class.prototype) {
      House.prototype[handler] = function (...event) { return this.inner[handler](...event); };
    }
  }
  if ("alarm" in Class.prototype) {
    House.prototype.alarm = async function (...event) {
      try {
        await this.inner.alarm(...event);
      } finally {
        await this.rang();
      }
    };
  }
  return House;
}

function split(name) {
  const at = name?.indexOf("~") ?? -1;
  return at < 0 ? [undefined, name] : [name.slice(0, at), name.slice(at + 1)];
}

/** Knows a visitor's objects in one chapter, and empties those that nobody asks for any more. */
export class Keeper extends DurableObject {
  /** Writes an object down. Returns what that costs, or why the visitor may not have it. */
  async keep(binding, id, isMade) {
    const { kv } = this.ctx.storage;
    const key = `${binding} ${id}`;
    if (kv.get(key) === undefined) {
      if (!isMade) return "alien";
      if (this.#objects().length >= OBJECTS) return "full";
    }
    kv.put(key, Date.now());
    await this.#wake();
    const debt = kv.get("debt") ?? 0;
    if (debt > 0) kv.delete("debt");
    return COST.keep + debt;
  }

  /** Notes what an alarm has cost. Returns whether the next has to wait. */
  owe(cost) {
    const { kv } = this.ctx.storage;
    const debt = (kv.get("debt") ?? 0) + cost;
    kv.put("debt", debt);
    return debt > ALARMS;
  }

  /** Whether an invitation of that time leads nowhere any more. */
  withdrew(time) {
    return time <= (this.ctx.storage.kv.get("reset") ?? 0);
  }

  /** What a restart of the server would do to the visitor's objects. Returns what it costs. */
  async restart() {
    const all = this.#objects();
    await Promise.all(all.map(([key]) => this.#abort(this.#stub(key))));
    return all.length * COST.second;
  }

  /** Empties all of them, and withdraws the invitations to them. They stay written down, for they may be in use again before a Worker asks here. */
  async reset() {
    const all = this.#objects();
    this.ctx.storage.kv.put("reset", Date.now());
    await this.#wake();
    const costs = await Promise.all(all.map(([key]) => this.#empty(this.#stub(key))));
    return costs.reduce((sum, cost) => sum + cost, 0);
  }

  async alarm() {
    const { kv } = this.ctx.storage;
    const old = Date.now() - idle(this.env);
    for (const [key, asked] of this.#objects()) {
      if (asked > old) continue;
      try {
        await this.#empty(this.#stub(key));
        kv.delete(key);
      } catch (error) {
        // It stays written down, and must not keep the others from their turn.
        console.error(`${key} cannot be emptied: ${error}`);
        kv.put(key, Date.now());
      }
    }
    const left = this.#objects().map(([, asked]) => asked + idle(this.env));
    const reset = (kv.get("reset") ?? 0) + INVITATION;
    if (reset > Date.now()) left.push(reset);
    if (left.length > 0) await this.ctx.storage.setAlarm(Math.min(...left));
    else await this.ctx.storage.deleteAll();
  }

  /** The objects, and when they were last asked for something. What else is here has no space in its key. */
  #objects() {
    return [...this.ctx.storage.kv.list()].filter(([key]) => key.includes(" "));
  }

  async #wake() {
    if (await this.ctx.storage.getAlarm() === null) await this.ctx.storage.setAlarm(Date.now() + idle(this.env));
  }

  #stub(key) {
    const [binding, id] = key.split(" ");
    return this.env[binding].get(this.env[binding].idFromString(id));
  }

  async #empty(stub) {
    const cost = await stub.empty();
    await this.#abort(stub);
    return cost;
  }

  async #abort(stub) {
    await stub.restart().catch(() => {});
  }
}
