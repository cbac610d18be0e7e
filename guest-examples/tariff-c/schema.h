// The JSON Schema of the options: a test holds it equal to tariff/options.schema.json.

#ifndef SCHEMA_H
#define SCHEMA_H

static const char SCHEMA[] =
    "{\n"
    "  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
    "  \"title\": \"tariff\",\n"
    "  \"type\": \"object\",\n"
    "  \"required\": [\"currency\", \"prices\"],\n"
    "  \"additionalProperties\": false,\n"
    "  \"properties\": {\n"
    "    \"currency\": {\n"
    "      \"description\": \"The unit of costs.\",\n"
    "      \"type\": \"string\",\n"
    "      \"minLength\": 1\n"
    "    },\n"
    "    \"prices\": {\n"
    "      \"description\": \"The price of an hour of processor time, by project and hour of the day in UTC.\",\n"
    "      \"type\": \"object\",\n"
    "      \"minProperties\": 1,\n"
    "      \"additionalProperties\": {\n"
    "        \"description\": \"Every hour from 0 to 24 must have exactly one price.\",\n"
    "        \"type\": \"array\",\n"
    "        \"items\": {\n"
    "          \"type\": \"object\",\n"
    "          \"required\": [\"from\", \"to\", \"price\"],\n"
    "          \"additionalProperties\": false,\n"
    "          \"properties\": {\n"
    "            \"from\": {\"description\": \"The first hour.\", \"type\": \"integer\", \"minimum\": 0, \"maximum\": 23},\n"
    "            \"to\": {\"description\": \"The hour after the last.\", \"type\": \"integer\", \"minimum\": 1, \"maximum\": 24},\n"
    "            \"price\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1000000}\n"
    "          }\n"
    "        }\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n";

#endif
