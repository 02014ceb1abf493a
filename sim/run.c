/* A run: takes what a forward pass does, operation by operation, and makes a graph for the event engine and entries
 * for the ledger.
 *
 * Every operation is a short chain of stages, each on one resource of the chip that holds its layer:
 *   multiply    scale and round the inputs, per token also find their range (vector unit; once for
 *               all matrices of a fork) -> move inputs and results (buffer)
 *               -> links, where the chip has them (run_links.h)
 *               -> tiles of the matrix: passes and conversions per token (tile_work), repeats of the bound management
 *               -> links
 *               beside the tiles, where part of the matrix stays digital (side_path.h): its weights and results
 *               (buffer) -> matrix unit; then the sum of both (vector unit)
 *   attention   move queries and results (buffer) -> keys and values stream from the KV memory, and from the DRAM
 *               what does not fit, while the attention unit works
 *   embedding   a row of the table from the DRAM, if it lies there -> as the rest
 *   matmul      weights from the buffer, once per step -> matrix unit
 *   the rest    move operands and results (buffer) -> vector unit
 * unit: (ceil(operations / lanes) + latency_cycles) / clock; memory: latency + bits / bandwidth; in whole picoseconds,
 * or cycles of its clock (sim/clocks.h). A pool of several units takes as many tokens at once.
 * Operations follow each other in the order of the calls; between run_fork and run_join they start from the same
 * inputs.
 *
 * Not modelled: overlap of a transfer with the work on the same token; a step that
 * starts before the step before it has ended.
 */
#include "sim/run.h"

#include <math.h>
#include <string.h>

#include "sim/activity.h"
#include "sim/history.h"
#include "sim/memories.h"
#include "sim/placement.h"
#include "sim/run_links.h"
#include "sim/run_streams.h"
#include "sim/side_path.h"

enum { STAGES_MOST = 3, DIGITAL_PER_LAYER = 24, DIGITAL_OUTSIDE = 64, EDGES_PER_STAGE = 4, UNEVEN_PER_LAYER = 4,
       SIDE_STAGES = 3 };

static const char *const class_names[CLASS_COUNT] = {"tiles",     "vector", "attention", "digital_matmul",
                                                     "kv_memory", "buffer", "dram",      "network",
                                                     "chip_link", "package_link"};

const char *resource_class_name(enum resource_class c) { return class_names[c]; }

/* ---- life -------------------------------------------------------------------------------------- */

static size_t grouped_resources(const struct run *r) {
    return placement_matrices(r->placement) + (size_t)placement_total(r->placement).chips * UNIT_COUNT +
           run_links_resources(r);
}

static size_t resource_count(const struct run *r) {
    return grouped_resources(r) + (r->ungrouped ? (size_t)placement_total(r->placement).stacks : 0);
}

static size_t tiles_of(const struct run *r, size_t resource) {
    return resource < placement_matrices(r->placement) ? placement_matrix_at(r->placement, resource).tiles : 1;
}

static void free_engine(struct run *r) {
    engine_destroy(r->engine);
    mem_free(r->classes);
    mem_free(r->critical_ticks);
    mem_free(r->each_ticks);
    mem_free(r->own_holds);
    mem_free(r->own_latencies);
    power_destroy(r->power);
    r->engine = NULL;
    r->power = NULL;
    r->classes = NULL;
    r->critical_ticks = r->each_ticks = r->own_holds = r->own_latencies = NULL;
}

static enum resource_class find_class(const struct run *r, size_t resource) {
    size_t matrices = placement_matrices(r->placement),
           links = matrices + (size_t)placement_total(r->placement).chips * UNIT_COUNT;
    if (resource >= grouped_resources(r)) {
        return CLASS_TILES;
    }
    if (resource >= links) {
        return run_links_class(r, resource - links);
    }
    return resource < matrices ? CLASS_TILES : (enum resource_class)((resource - matrices) % UNIT_COUNT + 1);
}

enum resource_class run_resource_class(const struct run *r, size_t resource) {
    return (enum resource_class)r->classes[resource];
}

static enum clock_domain domain_of(enum resource_class c) {
    switch (c) {
    case CLASS_TILES: return CLOCK_TILE;
    case CLASS_KV:
    case CLASS_BUFFER:
    case CLASS_DRAM: return CLOCK_MEMORY;
    case CLASS_NETWORK:
    case CLASS_CHIP_LINK:
    case CLASS_PACKAGE_LINK: return CLOCK_NETWORK;
    default: return CLOCK_DIGITAL;
    }
}

uint32_t run_servers(const struct run *r, size_t resource) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    switch (run_resource_class(r, resource)) {
    case CLASS_VECTOR: return (uint32_t)s->vector.count;
    case CLASS_ATTENTION: return (uint32_t)s->attention.count;
    case CLASS_MATMUL: return (uint32_t)s->matmul.count;
    case CLASS_TILES:
        return resource < placement_matrices(r->placement) ? placement_matrix_at(r->placement, resource).copies : 1;
    default: return 1;
    }
}

static size_t tiles_with_copies(const struct run *r) {
    size_t tiles = 0;
    for (size_t i = 0; i < placement_matrices(r->placement); i++) {
        struct placement_matrix m = placement_matrix_at(r->placement, i);
        tiles += (size_t)m.tiles * m.copies;
    }
    return tiles;
}

/* A resource serves who was ready first; a unit of a pool, the tiles of a matrix, a memory do one thing at a time. Room
 * for the longest step: most stages need at most one dependency, the first of an operation after a fork one per branch.
 */
enum status run_create_engine(struct run *r, uint32_t streams, struct error *e) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    size_t matrices = placement_matrices(r->placement), layers = placement_layers(r->placement),
           resources = resource_count(r), block = 1;
    struct engine_resource *all = mem_alloc(resources, sizeof *all);
    size_t operations = matrices + (layers + 1) * DIGITAL_PER_LAYER + DIGITAL_OUTSIDE;
    size_t side_stages = placement_total(r->placement).side_macs ? SIDE_STAGES * matrices : 0;
    r->stages_most = STAGES_MOST * operations + side_stages + run_links_stages(r, operations) +
                     (s->dram.given ? layers + 1 : 0) +
                     (r->ungrouped ? tiles_with_copies(r) : 0) + (size_t)maintenance_tasks(r);
    free_engine(r);
    r->classes = mem_alloc(resources, sizeof *r->classes);
    r->critical_ticks = mem_alloc(resources, sizeof *r->critical_ticks);
    r->each_ticks = mem_alloc(r->max_tokens, sizeof *r->each_ticks);
    bool own = (s->gating.given && s->gating.wake_cycles > 0) || r->ungrouped || run_links_turns(r);
    if (own) {
        r->own_holds = mem_alloc(r->max_tokens, sizeof *r->own_holds);
        r->own_latencies = mem_alloc(r->max_tokens, sizeof *r->own_latencies);
    }
    if (!all || !r->classes || !r->critical_ticks || !r->each_ticks || (own && (!r->own_holds || !r->own_latencies))) {
        mem_free(all);
        return error_set(e, ERR_RUN, "run: out of memory");
    }
    for (size_t i = 0; i < resources; i++) {
        r->classes[i] = (uint8_t)find_class(r, i);
        all[i] = (struct engine_resource){.servers = run_servers(r, i),
                                          .period = r->clocks.period[domain_of(run_resource_class(r, i))],
                                          .queue = QUEUE_BY_READY};
    }
    while (block < r->max_tokens) {
        block *= 2;
    }
    size_t uneven = own ? 2 * r->stages_most : UNEVEN_PER_LAYER * (layers + 1);
    struct engine_options o = {.ticks_per_s = r->clocks.ticks_per_s,
                               .tasks = streams * r->stages_most,
                               .dependencies = EDGES_PER_STAGE * streams * r->stages_most,
                               .durations = r->max_tokens > 1 ? streams * uneven * block : 0,
                               .log_events = r->streams ? 0 : r->stages_most * r->max_tokens,
                               .log_tasks = r->streams ? 0 : r->stages_most,
                               .log_inputs = r->keeps_inputs ? EDGES_PER_STAGE * r->stages_most : 0,
                               .path_groups = r->streams ? (uint32_t)r->ledger.rows : 0,
                               .started = r->streams ? streams_note_start : NULL,
                               .context = r};
    enum status status = engine_create(all, resources, &o, &r->engine, e);
    mem_free(all);
    return status == OK ? power_create(s, r->stages_most, r->clocks.ticks_per_s, &r->power, e) : status;
}

static enum status create(const struct chip *c, const struct placement *p, uint32_t max_tokens, bool timed,
                          struct run **out, struct error *e) {
    *out = NULL;
    struct run *r = mem_alloc(1, sizeof *r);
    if (!r) {
        return error_set(e, ERR_RUN, "run: out of memory");
    }
    *r = (struct run){.chip = c, .placement = p, .clocks = clocks_of(chip_spec_of(c)), .max_tokens = max_tokens};
    enum status status = ledger_create(c, p, &r->ledger, e);
    if (status == OK) {
        status = run_links_create(r, e);
    }
    if (status == OK && timed) {
        status = run_create_engine(r, 1, e);
    }
    if (status == OK && timed) {
        r->history = history_create(r);
        status = r->history ? OK : error_set(e, ERR_RUN, "run: out of memory");
    }
    if (status != OK) {
        run_destroy(r);
        return status;
    }
    *out = r;
    return OK;
}

enum status run_create_costs(const struct chip *c, const struct placement *p, uint32_t max_tokens, struct run **out,
                             struct error *e) {
    return create(c, p, max_tokens, chip_has_costs(c), out, e);
}

static enum status create_on(struct machine *m, uint32_t max_tokens, bool timed, struct run **out, struct error *e) {
    TRY(create(machine_chip(m), machine_placement(m), max_tokens, timed, out, e));
    (*out)->machine = m;
    (*out)->scratch = multiply_scratch_create(m, max_tokens);
    if (!(*out)->scratch) {
        run_destroy(*out);
        *out = NULL;
        return error_set(e, ERR_RUN, "run: out of memory");
    }
    return OK;
}

/* For other resources than before. */
static enum status make_engine_again(struct run *r, struct error *e) {
    TRY(run_create_engine(r, 1, e));
    history_destroy(r->history);
    r->history = history_create(r);
    return r->history ? OK : error_set(e, ERR_RUN, "run: out of memory");
}

enum status run_ungroup(struct run *r, struct error *e) {
    r->ungrouped = true;
    return make_engine_again(r, e);
}

enum status run_drop_links(struct run *r, struct error *e) {
    interconnect_destroy(r->net);
    r->net = NULL;
    return r->engine ? make_engine_again(r, e) : OK;
}

enum status run_keep_inputs(struct run *r, struct error *e) {
    r->keeps_inputs = true;
    return run_create_engine(r, 1, e);
}

enum status run_create(struct machine *m, uint32_t max_tokens, struct run **out, struct error *e) {
    return create_on(m, max_tokens, chip_has_costs(machine_chip(m)), out, e);
}

enum status run_create_values(struct machine *m, uint32_t max_tokens, struct run **out, struct error *e) {
    return create_on(m, max_tokens, false, out, e);
}

void run_destroy(struct run *r) {
    if (r) {
        if (r->scratch) {
            multiply_scratch_destroy(r->scratch);
        }
        free_engine(r);
        streams_destroy(r->streams);
        history_destroy(r->history);
        interconnect_destroy(r->net);
        ledger_destroy(&r->ledger);
        mem_free(r);
    }
}

enum status run_create_shapes(const struct chip *c, const struct placement *p, const struct activity *a,
                              uint32_t max_tokens, struct run **out, struct error *e) {
    TRY(run_create_costs(c, p, max_tokens, out, e));
    (*out)->activity = *a;
    (*out)->shapes = true;
    enum status status = maintenance_sample(*out, e);
    if (status != OK) {
        run_destroy(*out);
        *out = NULL;
    }
    return status;
}

const struct machine *run_machine(const struct run *r) { return r->machine; }

bool run_is_analog(const struct run *r, size_t matrix) { return placement_matrix_at(r->placement, matrix).analog; }

const struct activity *run_shapes_activity(const struct run *r) { return r->shapes ? &r->activity : NULL; }

struct activity run_activity(const struct run *r) {
    struct activity a = {.tokens = r->tokens_total};
    for (int role = 0; role < MATRIX_ROLES; role++) {
        a.array_S_per_weight[role] = r->role_weights[role] > 0 ? r->role_S[role] / r->role_weights[role] : (double)NAN;
    }
    if (r->blocks > 0) {
        a.repeated_blocks = r->repeated_blocks / r->blocks;
        a.repeated_rounds = r->repeated_rounds / r->multiplied_tokens;
    }
    return a;
}

bool run_wires_act(const struct run *r) { return r->machine && machine_wires(r->machine).act; }

bool run_wires_modelled(const struct run *r) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    return run_wires_act(r) || (r->machine && s->tile.ladder.given && s->effects.wires);
}

void run_reset(struct run *r) {
    ledger_reset(&r->ledger);
    if (r->engine) {
        engine_reset(r->engine);
        history_reset(r->history);
        streams_reset(r);
        power_reset(r->power);
    }
    r->step_start_ticks = 0;
    r->steps = r->tokens_total = r->single_steps = r->first_read = 0;
    r->single_s = r->several_s = 0;
    memset(r->critical_s, 0, sizeof r->critical_s);
    r->whole = (struct run_path){.arrival_s = 0};
    memset(r->role_S, 0, sizeof r->role_S);
    memset(r->role_weights, 0, sizeof r->role_weights);
    r->blocks = r->repeated_blocks = r->repeated_rounds = r->multiplied_tokens = 0;
    r->trouble.status = OK;
    maintenance_reset(r);
    if (r->scratch) {
        multiply_scratch_reset(r->scratch);
    }
}

void run_restart(struct run *r, uint64_t first_read) {
    run_reset(r);
    r->first_read = first_read;
}

/* ---- stages ------------------------------------------------------------------------------------ */

static int64_t unit_ticks(const struct run *r, const struct unit_spec *u, uint64_t operations) {
    uint64_t lanes = (uint64_t)u->lanes,
             cycles = operations / lanes + (operations % lanes != 0) + (uint64_t)u->latency_cycles;
    return clock_cycles(&r->clocks, CLOCK_DIGITAL, cycles);
}

static int64_t memory_ticks(const struct run *r, const struct memory_spec *m, uint64_t bits) {
    return clock_ticks(&r->clocks, CLOCK_MEMORY, memory_s(m, bits));
}

static int64_t dram_ticks(const struct run *r, uint64_t bits) {
    return bits ? clock_ticks(&r->clocks, CLOCK_MEMORY, dram_s(&chip_spec_of(r->chip)->dram, bits)) : 0;
}

static size_t unit_resource(const struct run *r, int layer, enum unit u) {
    return placement_matrices(r->placement) + (size_t)placement_home_chip(r->placement, layer) * UNIT_COUNT + (size_t)u;
}

struct turn run_turn_of(uint32_t k, uint32_t copies) { return (struct turn){copies > 1 ? copies : 0, k}; }

uint32_t run_turn_tokens(const struct run *r, struct turn turn) {
    if (turn.of == 0) {
        return r->tokens;
    }
    uint32_t first = (uint32_t)((turn.which + turn.of - r->tokens_total % turn.of) % turn.of);
    return first < r->tokens ? (r->tokens - first - 1) / turn.of + 1 : 0;
}

/* Sum over the tokens. */
static int64_t held_ticks(const struct run *r, const struct stage *s) {
    int64_t sum = 0;
    for (uint32_t t = 0; s->each_ticks && t < r->tokens; t++) {
        sum += s->each_ticks[t];
    }
    return s->each_ticks ? sum : s->hold_ticks * run_turn_tokens(r, s->turn);
}

/* The energy that the ledger noted for the components of this class since its last stage. */
static double take_energy_J(struct run *r, enum resource_class c) {
    static const enum resource_class spends[PART_COUNT] = {
        [PART_DAC] = CLASS_TILES,          [PART_ARRAY] = CLASS_TILES,       [PART_SAMPLING] = CLASS_TILES,
        [PART_ADC] = CLASS_TILES,          [PART_DIGITAL_POST] = CLASS_TILES, [PART_VECTOR] = CLASS_VECTOR,
        [PART_ATTENTION] = CLASS_ATTENTION, [PART_KV_MEMORY] = CLASS_KV,      [PART_BUFFER] = CLASS_BUFFER,
        [PART_DIGITAL_MATMUL] = CLASS_MATMUL, [PART_NETWORK] = CLASS_NETWORK, [PART_CHIP_LINK] = CLASS_CHIP_LINK,
        [PART_PACKAGE_LINK] = CLASS_PACKAGE_LINK, [PART_DRAM] = CLASS_DRAM,  [PART_MAINTENANCE] = CLASS_COUNT,
        [PART_STATIC] = CLASS_COUNT};
    double sum_J = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        if (spends[part] == c) {
            sum_J += r->ledger.fresh_J[part];
            r->ledger.fresh_J[part] = 0;
        }
    }
    return sum_J;
}

static void note_power(struct run *r, size_t resource, size_t stage, int64_t ticks) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    enum resource_class c = run_resource_class(r, resource);
    double units = c == CLASS_TILES ? (double)tiles_of(r, resource) : 1;
    power_stage(r->power, stage, take_energy_J(r, c), (1 - gating_kept(s)) * units * gated_W(s, c), ticks);
}

/* Tokens that it is not the turn of pass. */
static void take_turns(struct run *r, const struct stage *s, struct engine_task *task) {
    if (s->turn.of == 0 || r->tokens == 1) {
        return;
    }
    int64_t latency_ticks = s->latency_ticks == ENGINE_AS_HOLD ? s->hold_ticks : s->latency_ticks;
    for (uint32_t t = 0; t < r->tokens; t++) {
        bool mine = (r->tokens_total + t) % s->turn.of == s->turn.which;
        r->own_holds[t] = mine ? s->hold_ticks : ENGINE_PASS;
        r->own_latencies[t] = mine ? latency_ticks : 0;
    }
    task->holds = r->own_holds;
    task->latencies = r->own_latencies;
}

/* The first token of a stage waits until its unit is awake. */
static int64_t wake_up(struct run *r, const struct stage *s, int64_t wake, struct engine_task *task) {
    bool latency = task->latency != ENGINE_AS_HOLD;
    task->hold += wake;
    task->latency += latency ? wake : 0;
    if (r->tokens == 1) {
        return wake;
    }
    for (uint32_t t = 0; t < r->tokens; t++) {
        r->own_holds[t] = (s->each_ticks ? s->each_ticks[t] : s->hold_ticks) + (t ? 0 : wake);
        r->own_latencies[t] = s->latency_ticks + (t ? 0 : wake);
    }
    task->holds = r->own_holds;
    task->latencies = latency ? r->own_latencies : NULL;
    return wake;
}

static enum status try_stage(struct run *r, size_t resource, const struct stage *s, struct front *before,
                             struct error *e) {
    if (r->stages == r->stages_most) {
        return error_set(e, ERR_RUN, "run: this step has more operations than the run was made for");
    }
    uint64_t id;
    int64_t held = held_ticks(r, s);
    enum resource_class c = run_resource_class(r, resource);
    struct engine_task task = {.key = r->stages,
                               .tag = r->tag,
                               .resource = resource,
                               .group = r->streams ? tag_row(r, r->tag) : 0,
                               .items = r->tokens,
                               .hold = s->each_ticks ? s->each_ticks[0] : s->hold_ticks,
                               .latency = s->each_ticks ? ENGINE_AS_HOLD : s->latency_ticks,
                               .holds = r->tokens > 1 ? s->each_ticks : NULL,
                               .in_order_results = !s->overlap && run_servers(r, resource) == 1};
    take_turns(r, s, &task);
    uint64_t cycles = (uint64_t)chip_spec_of(r->chip)->gating.wake_cycles;
    if (cycles && c <= CLASS_MATMUL) {
        held += wake_up(r, s, clock_cycles(&r->clocks, domain_of(c), cycles), &task);
    }
    note_power(r, resource, r->stages, held);
    if (r->streams) {
        streams_place(r, &task);
    }
    TRY(engine_add(r->engine, &task, &id, e));
    for (uint32_t i = 0; i < before->count; i++) {
        TRY(engine_depend(r->engine, id, before->tasks[i], AFTER_ITEM, e));
    }
    if (r->streams) {
        TRY(streams_note(r, &task, id, before, e));
    }
    r->stages++;
    before->tasks[0] = id;
    before->count = 1;
    return OK;
}

void run_add_stage(struct run *r, size_t resource, const struct stage *s, struct front *before) {
    struct error e;
    if (r->trouble.status == OK && r->tokens > 0 && try_stage(r, resource, s, before, &e) != OK) {
        r->trouble = e;
    }
}

static enum status try_maintenance(struct run *r, size_t resource, uint64_t tag, int64_t hold, int64_t release,
                                   double energy_J, struct error *e) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct engine_task task = {.key = r->streams ? r->maintenance.key++ : r->stages,
                               .tag = tag,
                               .resource = resource,
                               .group = r->streams ? tag_row(r, tag) : 0,
                               .items = 1,
                               .hold = hold,
                               .latency = ENGINE_AS_HOLD,
                               .release = release};
    double awake_W = (1 - gating_kept(s)) * (double)tiles_of(r, resource) * gated_W(s, CLASS_TILES);
    uint64_t id;
    power_stage(r->power, r->stages, energy_J, awake_W, hold);
    TRY(engine_add(r->engine, &task, &id, e));
    if (r->streams) {
        return streams_note_maintenance(r, id, e);
    }
    r->stages++;
    return OK;
}

void run_add_maintenance(struct run *r, size_t matrix, uint64_t tag, int64_t hold, int64_t release, double energy_J) {
    struct placement_matrix m = placement_matrix_at(r->placement, matrix);
    size_t own = grouped_resources(r) + (size_t)placement_first_stack(r->placement, matrix), /* ungrouped */
           parts = (size_t)m.copies * (r->ungrouped ? m.tiles : 1);
    for (size_t i = 0; r->trouble.status == OK && i < parts; i++) {
        struct error e;
        size_t resource = r->ungrouped ? own + i : placement_group(r->placement, matrix);
        if (try_maintenance(r, resource, tag, hold, release, energy_J / (double)parts, &e) != OK) {
            r->trouble = e;
        }
    }
}

/* The same with equal durations for every token, or one for each. */
static void add_stage(struct run *r, size_t resource, int64_t even_ticks, const int64_t *each_ticks,
                      struct front *before) {
    run_add_stage(
        r, resource,
        &(struct stage){.hold_ticks = even_ticks, .latency_ticks = ENGINE_AS_HOLD, .each_ticks = each_ticks}, before);
}

void run_join_front(struct run *r, struct front *to, const struct front *from) {
    for (uint32_t i = 0; i < from->count && r->trouble.status == OK; i++) { /* the first trouble is the reason */
        if (to->count == FRONT_MOST) {
            error_set(&r->trouble, ERR_RUN, "run: an operation waits for more branches than there is room for");
            return;
        }
        to->tasks[to->count++] = from->tasks[i];
    }
}

/* An operation has ended with these stages. */
static void end_operation(struct run *r, const struct front *last) {
    if (r->forked) {
        run_join_front(r, &r->ends, last);
    } else {
        r->front = *last;
    }
}

/* ---- operations -------------------------------------------------------------------------------- */

/* The codes of the inputs: in a fork the first multiply of this width makes them for all. */
static void prepare_inputs(struct run *r, const struct placement_matrix *m, struct front *at) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    bool shared = r->forked && r->prepared_inputs == m->inputs;
    if (shared) {
        if (r->prepared) {
            at->tasks[0] = r->prepared;
            at->count = 1;
        }
        return;
    }
    ledger_inputs(&r->ledger, m->layer, m->inputs, r->tokens);
    if (r->engine) {
        add_stage(r, unit_resource(r, m->layer, UNIT_VECTOR),
                  unit_ticks(r, &s->vector, (uint64_t)m->inputs * input_operations(s)), NULL, at);
        r->prepared = at->count ? at->tasks[0] : 0;
    }
    r->prepared_inputs = m->inputs;
}

static void note_activity(struct run *r, const struct placement_matrix *m, const struct multiply_record *record) {
    r->role_S[m->role] += record->array_S_sum;
    r->role_weights[m->role] += (double)m->inputs * m->outputs * record->tokens;
    r->blocks += (double)m->row_blocks * record->tokens;
    r->multiplied_tokens += record->tokens;
    r->repeated_blocks += (double)record->repeated_blocks;
    r->repeated_rounds += (double)record->repeated_rounds;
}

/* Tokens go to the copies in turn. */
static void add_every_tile(struct run *r, size_t matrix, const struct stage *s, struct front *at) {
    struct placement_matrix m = placement_matrix_at(r->placement, matrix);
    struct front all = {.count = 0};
    size_t next = grouped_resources(r) + (size_t)placement_first_stack(r->placement, matrix);
    for (uint32_t k = 0; k < m.copies; k++) {
        struct stage one = *s;
        one.turn = run_turn_of(k, m.copies);
        for (uint32_t i = 0; i < m.tiles; i++, next++) {
            struct front here = *at;
            if (run_turn_tokens(r, one.turn)) {
                run_add_stage(r, next, &one, &here);
                run_join_front(r, &all, &here);
            }
        }
    }
    *at = all;
}

static void add_tiles(struct run *r, const struct multiply_record *record, struct front *at) {
    struct tile_work work = *chip_work(r->chip);
    double reads = 1 + (double)record->repeated_rounds / record->tokens; /* repeats: evenly over the tokens */
    bool overlap = chip_spec_of(r->chip)->tile.overlap != OVERLAP_NONE;
    int64_t latency = clock_ticks(&r->clocks, CLOCK_TILE, work.latency_s * reads);
    struct stage s = {.hold_ticks = overlap ? clock_ticks(&r->clocks, CLOCK_TILE, work.interval_s * reads) : latency,
                      .latency_ticks = overlap ? latency : ENGINE_AS_HOLD,
                      .overlap = overlap};
    if (!r->ungrouped) {
        run_add_stage(r, placement_group(r->placement, record->matrix), &s, at);
        return;
    }
    add_every_tile(r, record->matrix, &s, at);
}

/* The stored weights and indices go to the matrix unit once, every token's results to the buffer and back. */
static void add_side_path(struct run *r, const struct placement_matrix *m, struct front *at) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    uint64_t results_bits = 2 * (uint64_t)m->outputs * (uint64_t)s->buffer.value_bits;
    for (uint32_t t = 0; t < r->tokens; t++) {
        uint64_t stored_bits = t == 0 ? side_path_bits(&s->side_path, m) : 0;
        r->each_ticks[t] = memory_ticks(r, &s->buffer, stored_bits + results_bits);
    }
    add_stage(r, unit_resource(r, m->layer, UNIT_BUFFER), 0, r->each_ticks, at);
    uint64_t operations = placement_side_macs(m) * (uint64_t)s->side_path.mac_lanes;
    add_stage(r, unit_resource(r, m->layer, UNIT_MATMUL), unit_ticks(r, &s->matmul, operations), NULL, at);
}

void run_record_multiply(struct run *r, const struct multiply_record *record) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct placement_matrix m = placement_matrix_at(r->placement, record->matrix);
    struct front at = r->front;
    r->tag = tag_of_multiply(record->matrix);
    run_enter_chip(r, m.layer, m.inputs, &at);
    prepare_inputs(r, &m, &at);
    note_activity(r, &m, record);
    ledger_multiply(&r->ledger, record);
    if (!r->engine) {
        run_send_inputs(r, record->matrix, &at); /* counts only */
        return;
    }
    uint64_t moved_bits = ((uint64_t)m.inputs + m.outputs) * (uint64_t)s->buffer.value_bits;
    add_stage(r, unit_resource(r, m.layer, UNIT_BUFFER), memory_ticks(r, &s->buffer, moved_bits), NULL, &at);
    struct front beside = at;
    run_send_inputs(r, record->matrix, &at);
    add_tiles(r, record, &at);
    run_collect_results(r, record->matrix, &at);
    if (placement_side_macs(&m)) {
        add_side_path(r, &m, &beside);
        run_join_front(r, &at, &beside);
        add_stage(r, unit_resource(r, m.layer, UNIT_VECTOR), unit_ticks(r, &s->vector, m.outputs), NULL, &at);
    }
    end_operation(r, &at);
}

enum status run_multiply(struct run *r, size_t matrix, const float *x, uint32_t tokens, float *y, struct error *e) {
    struct multiply_record record;
    if (r->shapes) {
        record = shape_record(r->chip, r->placement, &r->activity, matrix, tokens);
    } else {
        TRY(machine_multiply(r->machine, matrix, x, tokens, r->first_read + r->tokens_total, r->scratch, y, &record,
                             e));
    }
    run_record_multiply(r, &record);
    return r->trouble.status == OK ? OK : error_set(e, r->trouble.status, "%s", r->trouble.message);
}

static void schedule_attention(struct run *r, const struct digital_record *d, struct front *at) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct front memory = *at, outside = *at;
    uint64_t room_bits = r->ledger.kv_share_bits[placement_layer_row(r->placement, d->layer)], spilled_bits = 0;
    for (uint32_t t = 0; t < r->tokens; t++) {
        struct kv_traffic kv = kv_traffic(s, d, t, room_bits);
        r->each_ticks[t] = memory_ticks(r, &s->kv, kv.chip_bits);
        spilled_bits += kv.dram_bits;
    }
    add_stage(r, unit_resource(r, d->layer, UNIT_KV), 0, r->each_ticks, &memory);
    for (uint32_t t = 0; spilled_bits && t < r->tokens; t++) {
        r->each_ticks[t] = dram_ticks(r, kv_traffic(s, d, t, room_bits).dram_bits);
    }
    if (spilled_bits) {
        add_stage(r, unit_resource(r, d->layer, UNIT_DRAM), 0, r->each_ticks, &outside);
        run_join_front(r, &memory, &outside);
    }
    for (uint32_t t = 0; t < r->tokens; t++) {
        r->each_ticks[t] = unit_ticks(r, &s->attention, attention_macs(d, t));
    }
    add_stage(r, unit_resource(r, d->layer, UNIT_ATTENTION), 0, r->each_ticks, at);
    run_join_front(r, at, &memory);
}

static void schedule_matmul(struct run *r, const struct digital_record *d, struct front *at) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    for (uint32_t t = 0; t < r->tokens; t++) {
        r->each_ticks[t] = t == 0 ? memory_ticks(r, &s->buffer, d->elements * WEIGHT_BITS) : 0;
    }
    add_stage(r, unit_resource(r, d->layer, UNIT_BUFFER), 0, r->each_ticks, at);
    add_stage(r, unit_resource(r, d->layer, UNIT_MATMUL), unit_ticks(r, &s->matmul, d->elements), NULL, at);
}

/* That an operation takes per token; 0: not known from its record. */
static uint64_t values_of(const struct digital_record *d) {
    return d->op == OP_ATTENTION ? (uint64_t)d->heads * d->head_dim : d->op == OP_MATMUL ? 0 : d->elements;
}

void run_digital(struct run *r, const struct digital_record *d) {
    const struct chip_spec *s = chip_spec_of(r->chip);
    struct front at = r->front;
    r->tag = tag_of_digital(d->op, d->layer);
    ledger_digital(&r->ledger, d);
    run_enter_chip(r, d->layer, values_of(d), &at);
    if (!r->engine) {
        return;
    }
    if (d->op == OP_MATMUL) {
        schedule_matmul(r, d, &at);
    } else {
        uint64_t row_bits = d->op == OP_EMBED ? embedding_dram_bits(s, d->elements) : 0;
        if (row_bits) {
            add_stage(r, unit_resource(r, d->layer, UNIT_DRAM), dram_ticks(r, row_bits), NULL, &at);
        }
        uint64_t width = d->op == OP_ATTENTION ? (uint64_t)d->heads * d->head_dim : d->elements;
        uint64_t moved_bits = width * buffer_values(d->op) * (uint64_t)s->buffer.value_bits;
        add_stage(r, unit_resource(r, d->layer, UNIT_BUFFER), memory_ticks(r, &s->buffer, moved_bits), NULL, &at);
        if (d->op == OP_ATTENTION) {
            schedule_attention(r, d, &at);
        } else {
            add_stage(r, unit_resource(r, d->layer, UNIT_VECTOR),
                      unit_ticks(r, &s->vector, width * vector_operations(d->op)), NULL, &at);
        }
    }
    end_operation(r, &at);
}

/* ---- steps ------------------------------------------------------------------------------------- */

void run_begin_step(struct run *r, uint32_t tokens) {
    r->trouble.status = r->streams ? r->trouble.status : OK; /* with streams, run_wait tells */
    r->tokens = tokens;
    if (tokens > r->max_tokens) {
        r->tokens = r->max_tokens;
        error_set(&r->trouble, ERR_RUN, "run: a step of %u tokens (allowed: up to %u)", tokens, r->max_tokens);
    }
    r->front.count = r->ends.count = 0;
    r->forked = false;
    r->prepared_inputs = 0;
    r->at_somewhere = false;
    r->stages = 0;
    if (r->streams) {
        streams_begin_step(r);
    } else if (r->engine) {
        engine_forget(r->engine, r->trouble.status == OK ? &r->trouble : NULL);
    }
    if (r->engine && r->tokens > 0) {
        maintenance_before_step(r, r->streams ? streams_start(r) : engine_now(r->engine));
    }
}

void run_fork(struct run *r) {
    r->forked = true;
    r->ends.count = 0;
    r->prepared_inputs = 0;
    r->prepared = 0;
}

void run_join(struct run *r) {
    if (r->forked && r->ends.count) {
        r->front = r->ends;
    }
    r->forked = false;
}

/* Adds the critical path of this step to its classes. */
static void note_critical(struct run *r) {
    enum step_kind kind = r->tokens == 1 ? STEP_SINGLE : STEP_SEVERAL;
    engine_critical_path(r->engine, r->critical_ticks);
    for (size_t i = 0; i < engine_resources(r->engine); i++) {
        if (r->critical_ticks[i]) {
            r->critical_s[kind][run_resource_class(r, i)] += engine_seconds(r->engine, r->critical_ticks[i]);
            r->critical_ticks[i] = 0;
        }
    }
}

double run_end_step(struct run *r) {
    r->steps++;
    r->tokens_total += r->tokens;
    r->single_steps += r->tokens == 1;
    if (r->streams) {
        streams_end_step(r);
    }
    if (!r->engine || r->streams) {
        return (double)NAN;
    }
    struct engine_report report;
    struct error e;
    r->step_start_ticks = engine_now(r->engine);
    if (engine_advance(r->engine, &report, &e) != OK) {
        r->trouble = e;
    } else {
        note_critical(r);
    }
    double end_s = engine_seconds(r->engine, engine_end(r->engine)), length_s = end_s - run_step_start_s(r);
    *(r->tokens == 1 ? &r->single_s : &r->several_s) += length_s;
    if (r->trouble.status == OK && power_add_step(r->power, r->engine, &e) != OK) {
        r->trouble = e;
    }
    if (r->trouble.status == OK) {
        history_add_step(r);
    }
    return end_s;
}

double run_step_start_s(const struct run *r) {
    return r->engine ? engine_seconds(r->engine, r->step_start_ticks) : (double)NAN;
}

/* ---- results ----------------------------------------------------------------------------------- */

static double makespan_s(const struct run *r) {
    return r->engine ? engine_seconds(r->engine, engine_end(r->engine)) : (double)NAN;
}

/* Time at work of everything that is gated. */
static struct awake find_awake(const struct run *r) {
    struct awake a = {0, 0, 0, 0};
    for (size_t i = 0; i < engine_resources(r->engine); i++) {
        double busy_s = engine_seconds(r->engine, engine_use(r->engine, i).busy);
        switch (run_resource_class(r, i)) {
        case CLASS_TILES: a.tiles_s += busy_s * (double)tiles_of(r, i); break;
        case CLASS_VECTOR: a.vector_s += busy_s; break;
        case CLASS_ATTENTION: a.attention_s += busy_s; break;
        case CLASS_MATMUL: a.matmul_s += busy_s; break;
        default: break;
        }
    }
    return a;
}

struct awake run_awake(const struct run *r) {
    bool gated = r->engine && chip_spec_of(r->chip)->gating.given;
    return gated ? find_awake(r) : (struct awake){0, 0, 0, 0};
}

double run_static_J(const struct run *r) {
    struct awake a = run_awake(r);
    double chips = (double)placement_total(r->placement).chips, seconds = makespan_s(r);
    return ledger_static_W(&r->ledger) * seconds - gating_saved_J(chip_spec_of(r->chip), chips, seconds, &a);
}

struct ledger_view run_ledger(const struct run *r) {
    return ledger_view(&r->ledger, makespan_s(r), run_static_J(r));
}

double run_layer_energy_J(const struct run *r, size_t layer) {
    return ledger_row_J(&r->ledger, layer, run_static_J(r));
}

struct power_view run_power(const struct run *r) {
    struct power_view v = {(double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};
    double seconds = makespan_s(r), chips = (double)placement_total(r->placement).chips;
    if (!(seconds > 0)) {
        return v;
    }
    struct power_sum sum = power_sum(r->power);
    struct awake none = {0, 0, 0, 0};
    v.idle_W = ledger_static_W(&r->ledger) - gating_saved_J(chip_spec_of(r->chip), chips, 1, &none);
    v.mean_W = run_ledger(r).total_J / seconds;
    v.window_s = sum.window_s < seconds ? sum.window_s : seconds;
    if (sum.complete) {
        v.over_time_J = sum.energy_J + v.idle_W * seconds;
        v.peak_W = fmax(v.idle_W + sum.peak_W, v.mean_W);
        v.peak_s = sum.peak_s < seconds ? sum.peak_s : seconds;
    }
    return v;
}

uint64_t run_resource_chip(const struct run *r, size_t resource) {
    size_t matrices = placement_matrices(r->placement);
    size_t links = matrices + (size_t)placement_total(r->placement).chips * UNIT_COUNT;
    if (resource >= grouped_resources(r)) {
        return (resource - grouped_resources(r)) / placement_stacks_per_chip(r->placement);
    }
    if (resource >= links) {
        return run_links_chip(r, resource - links);
    }
    return resource < matrices ? placement_first_chip(r->placement, resource)
                               : (resource - matrices) / UNIT_COUNT;
}

struct run_path run_path(const struct run *r) {
    struct run_path path = {.clock_s = makespan_s(r)};
    for (int c = 0; c < CLASS_COUNT; c++) {
        path.class_s[c] = r->critical_s[STEP_SEVERAL][c] + r->critical_s[STEP_SINGLE][c];
        path.clock_s -= path.class_s[c];
    }
    return r->streams ? r->whole : path;
}

struct class_view run_class(const struct run *r, enum resource_class c) {
    struct class_view v = {.critical_s = run_path(r).class_s[c]};
    if (!r->engine) {
        return (struct class_view){(double)NAN, (double)NAN, (double)NAN, (double)NAN, 0};
    }
    size_t count = engine_resources(r->engine);
    double total_s = makespan_s(r);
    for (size_t i = 0; i < count; i++) {
        if (run_resource_class(r, i) == c) {
            struct engine_use one = engine_use(r->engine, i);
            double busy_s = engine_seconds(r->engine, one.busy);
            v.busy_s += busy_s;
            double share = total_s > 0 ? busy_s / total_s / run_servers(r, i) : 0;
            v.events += one.events;
            v.wait_s += engine_seconds(r->engine, one.wait);
            v.busiest = share > v.busiest ? share : v.busiest;
        }
    }
    return v;
}
