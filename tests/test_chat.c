/* Chat formats: every rendering without tools of the golden file, byte for byte, and its ids where the vocabulary is at
 * hand; the formats by name; templates that are not recognised.
 *
 * The golden texts were made by running the models' own Jinja templates (golden/README.md). The formats that have no
 * golden (llama2, llama3, mistral, zephyr, gemma) are checked against texts written out by hand from the published
 * templates.
 */
#include <string.h>

#include "models/tokenizer.h"
#include "tests/suite.h"

enum { MAX_MESSAGES = 8 };

static size_t messages_of(const json_t *list, struct chat_message *m) {
    size_t count = json_array_size(list);
    assert_in_range(count, 1, MAX_MESSAGES);
    for (size_t i = 0; i < count; i++) {
        m[i].role = json_string_value(json_object_get(json_array_get(list, i), "role"));
        m[i].content = json_string_value(json_object_get(json_array_get(list, i), "content"));
    }
    return count;
}

static void check_ids(const struct tokenizer *t, const char *text, const json_t *ids) {
    struct token_list l = {0};
    struct error e;
    assert_int_equal(tokenizer_encode(t, text, strlen(text), false, true, &l, &e), OK);
    assert_int_equal(l.count, json_array_size(ids));
    for (size_t i = 0; i < l.count; i++) {
        assert_int_equal(l.ids[i], json_integer_value(json_array_get(ids, i)));
    }
    token_list_clear(&l);
}

/* Renders all rows of one golden template; returns how many were compared. */
static int check_template(const json_t *root, const char *name, const struct tokenizer *t) {
    const json_t *entry = json_object_get(json_object_get(root, "templates"), name);
    const char *source = json_string_value(json_object_get(entry, "chat_template"));
    source = source ? source : tokenizer_chat_template(t);
    assert_non_null(source);
    int compared = 0;
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(entry, "renderings"), i, row) {
        if (json_object_get(row, "with_tools") || json_object_get(row, "enable_thinking")) {
            continue;
        }
        struct chat_message m[MAX_MESSAGES];
        const char *conversation = json_string_value(json_object_get(row, "conversation"));
        size_t count = messages_of(json_object_get(json_object_get(root, "conversations"), conversation), m);
        char *text;
        struct error e = {0};
        enum status s =
            chat_render(NULL, source, m, count, json_is_true(json_object_get(row, "add_generation_prompt")), &text, &e);
        if (s != OK) {
            fail_msg("%s, %s: %s", name, conversation, e.message);
        }
        assert_string_equal(text, json_string_value(json_object_get(row, "text")));
        if (t && json_object_get(row, "ids")) {
            check_ids(t, text, json_object_get(row, "ids"));
        }
        mem_free(text);
        compared++;
    }
    return compared;
}

static json_t *goldens(void) {
    json_t *root;
    struct error e;
    assert_int_equal(json_load_checked(golden_path("chat_templates.json"), 1 << 24, &root, &e), OK);
    return root;
}

static void check_golden(const char *name, const char *tokenizer_path) {
    struct tokenizer *t = NULL;
    struct error e = {0};
    if (tokenizer_path && tokenizer_open_path(shared_path(tokenizer_path), &t, &e) != OK) {
        fail_msg("%s", e.message);
    }
    json_t *root = goldens();
    assert_int_equal(check_template(root, name, t), 12);
    json_decref(root);
    tokenizer_close(t);
}

static void golden_minimind2(void **state) { (void)state; check_golden("minimind2-small", "models/minimind2-small"); }
static void golden_qwen2(void **state) { (void)state; check_golden("qwen2", "tokenizers/qwen2"); }
static void golden_phi3(void **state) { (void)state; check_golden("phi-3", NULL); }
static void golden_qwen2_gguf(void **state) { (void)state; check_golden("qwen2-gguf", NULL); }
static void golden_smollm2(void **state) { (void)state; check_golden("smollm2", "tokenizers/smollm"); }

static const struct chat_message talk[] = {
    {"system", "Be brief."}, {"user", " Hi "}, {"assistant", "Hello."}, {"user", "Bye"}};

static void by_name(void **state) {
    (void)state;
    static const struct { const char *format, *text;
    } rows[] = {
        {"chatml", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi "
                   "<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
                   "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
        {"llama2", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi [/INST] Hello. </s><s>[INST] Bye [/INST]"},
        {"llama3", "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe "
                   "brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
                   "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>"
                   "user<|end_header_id|>\n\nBye"
                   "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"phi3", "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi "
                 "<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n"},
        {"mistral", "<s>[INST] Be brief.\n\n Hi  [/INST] Hello.</s>[INST] Bye [/INST]"},
        {"zephyr", "<|system|>\nBe brief.</s>\n<|user|>\n Hi "
                   "</s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n<|assistant|>\n"},
        {"gemma", "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n"
                  "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
        {"plain", "Be brief.\n Hi \nHello.\nBye\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text;
        struct error e = {0};
        assert_int_equal(chat_render(rows[i].format, NULL, talk, 4, true, &text, &e), OK);
        assert_string_equal(text, rows[i].text);
        assert_string_equal(chat_format_names[i], rows[i].format);
        mem_free(text);
    }
    assert_null(chat_format_names[sizeof rows / sizeof rows[0]]);
}

/* Pieces of published templates that tell the variants apart, and what the variant does. */
static void variants(void **state) {
    (void)state;
    static const struct { const char *source; size_t skip; const char *text;
    } rows[] = {
        {"{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}Cutting Knowledge Date: December 2023 {% set "
         "date_string = \"26 Jul 2024\" %}",
         1,
         "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday "
         "Date: 26 Jul 2024\n\n"
         "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"},
        {"'<|start_header_id|>' + role + '<|end_header_id|>' + content | trim + '<|eot_id|>'", 1,
         "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"},
        {"'<|system|>' '<|user|>' '<|end|>' {{ eos_token }}", 1, "<|user|>\n Hi <|end|>\n<|endoftext|>"},
        {"'<|system|>' '<|user|>' + content + eos_token", 1, "<|user|>\n Hi </s>\n"},
        {"{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token}}", 1,
         "<s>[INST]  Hi  [/INST]"},
        {"{{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}{{- \" \" + message[\"content\"]|trim + eos_token}}",
         0, "<s>[INST] Be brief.\n\n Hi [/INST]"},
        {"{{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}"
         "{{- ' [INST] ' + message['content'] + ' [/INST]' }}{{- ' ' + message['content'] + eos_token}}",
         0, "<s> [INST] Be brief.\n\n Hi  [/INST]"},
        {"<start_of_turn> first_user_prefix", 0, "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"},
        {"'<|im_start|>' + role '<|im_end|>'", 1, "<|im_start|>user\n Hi <|im_end|>\n"},
        {"'<|im_start|>system\\nSay \\'a\\'.<|im_end|>\\n'", 1,
         "<|im_start|>system\nSay 'a'.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text;
        struct error e = {0};
        assert_int_equal(chat_render(NULL, rows[i].source, talk + rows[i].skip, 2 - rows[i].skip, false, &text, &e),
                         OK);
        assert_string_equal(text, rows[i].text);
        mem_free(text);
    }
}

/* Qwen3: reasoning of answers in front of the last question is dropped, the last answer keeps its own. */
static void reasoning(void **state) {
    (void)state;
    static const char source[] = "<|im_start|> {% if loop.last or (not loop.last and reasoning_content) %}"
                                 "'<think>\\n' + reasoning_content.strip('\\n')";
    static const struct chat_message m[] = {{"user", "a"},
                                            {"assistant", "<think>\nlong\n</think>\n\nb"},
                                            {"user", "c"},
                                            {"assistant", "<think>\nwhy\n</think>\n\nd"}};
    char *text;
    struct error e = {0};
    assert_int_equal(chat_render(NULL, source, m, 4, false, &text, &e), OK);
    assert_string_equal(
        text, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
              "<|im_start|>assistant\n<think>\nwhy\n</think>\n\nd<|im_end|>\n");
    mem_free(text);
}

static void expect_refusal(const char *format, const char *source, const struct chat_message *m, size_t count,
                           const char *words) {
    char *text = NULL;
    struct error e = {0};
    assert_int_equal(chat_render(format, source, m, count, true, &text, &e), ERR_USAGE);
    assert_null(text);
    assert_non_null(strstr(e.message, words));
}

static void refusals(void **state) {
    (void)state;
    static const struct chat_message tool[] = {{"user", "a"}, {"tool", "b"}}, late[] = {{"user", "a"}, {"system", "b"}},
                                     alone[] = {{"system", "a"}};
    expect_refusal(NULL, "{{ messages }}", talk, 4,
                   "--chat-format chatml, llama2, llama3, phi3, mistral, zephyr, gemma or plain");
    expect_refusal(NULL, NULL, talk, 4, "the model has none");
    expect_refusal(NULL, "", talk, 4, "not recognised");
    expect_refusal("chat-ml", NULL, talk, 4, "chat-ml");
    expect_refusal("chatml", NULL, talk, 0, "no message");
    expect_refusal("chatml", NULL, tool, 2, "role \"tool\"");
    expect_refusal("gemma", NULL, late, 2, "behind others");
    expect_refusal("llama2", NULL, alone, 1, "there is none");
    expect_refusal(NULL, "<start_of_turn> System role not supported", talk, 4, "takes no system message");
    expect_refusal(NULL, "<|im_start|> <|im_end|> {% set system_message = 'You' %}", talk, 4, "not recognised");
    expect_refusal(NULL, "<|im_start|>user<|im_sep|> <|im_end|>", talk, 4, "not recognised");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_minimind2), cmocka_unit_test(golden_qwen2), cmocka_unit_test(golden_phi3),
    cmocka_unit_test(golden_qwen2_gguf), cmocka_unit_test(golden_smollm2), cmocka_unit_test(by_name),
    cmocka_unit_test(variants), cmocka_unit_test(reasoning), cmocka_unit_test(refusals),
};
const struct test_suite suite_chat = {"chat", tests, sizeof tests / sizeof tests[0]};
